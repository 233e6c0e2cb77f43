"""What was killed when, what became of the rollouts, and what was found wrong, as a table."""

from collections import Counter
from typing import TextIO

from tests.simulators.kills.matrix import Sums
from tests.simulators.kills.plan import MOMENTS


def print_sums(name: str, sums: Sums, out: TextIO) -> None:
    """Print what was killed when, what became of the rollouts, and what is wrong."""
    print(f"\n{name}: kills by part, and by how far the furthest rollout of the round was", file=out)
    print(f"{'':12} {' '.join(f'{moment:>13}' for moment in MOMENTS)} {'in all':>13} {'was down':>9}", file=out)
    for part in sorted({part for part, _ in sums.kills} | set(sums.down)):
        cells = [sums.kills[part, moment] for moment in MOMENTS]
        line = " ".join(f"{one:>13}" for one in [*cells, sum(cells)])
        print(f"{part:12} {line} {sums.down[part]:>9}", file=out)
    print(f"{'all':12} {' ' * 13 * len(MOMENTS)}{' ' * len(MOMENTS)}{sums.kills.total():>13}", file=out)
    print(f"done: {_words(sums.done)}", file=out)
    print(f"rollouts: {sums.rollouts.total()} ({_words(sums.rollouts)})", file=out)
    print(f"deployments: {sums.deployments.total()} ({_words(sums.deployments)})", file=out)
    rest = f"longest way to rest {max(sums.rest_s, default=0):.1f} s"
    print(f"power cuts of devices that came: {sums.power_cuts}", file=out)
    print(f"activations: {sums.activations}; {rest}; problems: {len(sums.problems)}", file=out)
    print(*sums.problems, sep="\n", file=out, flush=True)


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
