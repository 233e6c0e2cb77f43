"""How well latency is predicted for recipes that were not measured, this machine standing for the device.

Networks of four kinds, in four widths (structured pruning) and three precisions: twelve recipes. Each recipe is left
out in turn, for all networks: what is learnt from the others predicts it. Beside it, on the same measurements, a line
through MACs, one for each precision, which is what counting operations comes to. Measurements of nn-Meter's kind can
not be had for this machine: its predictors are of four phones and come as fixed files.

Run it as `python benchmarks/latency_predictor.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("benchmarks", "contract", "numerics", "compression")]

import numpy as np  # noqa: E402 - the paths above come first
from compression_parts import latency_nets as nets  # noqa: E402
from compression_parts.lines import line  # noqa: E402

from shoal_compression.operations import contents  # noqa: E402
from shoal_compression.predictor.operators import FileProfile, profile, quietest  # noqa: E402
from shoal_compression.predictor.predictor import LatencyPredictor  # noqa: E402

GOAL = 0.20
"""Of the measured latency."""


def measure(runs: int, rounds: int) -> tuple[list[FileProfile], list[int]]:
    """Return the profile of each network in each recipe, and its MACs; all files are gone through several times."""
    made, macs = [], []
    for kind in nets.SHAPES:
        samples = nets.samples_of(kind)
        for width in nets.WIDTHS:
            network = nets.build(kind, width)
            for precision in nets.PRECISIONS:
                model = nets.in_precision(network, samples, precision)
                made.append((model, samples, f"{kind} {width:g} {precision}"))
                macs.append(contents(network, samples).macs or 0)
    told = [[profile(*one, runs) for one in made] for _ in range(rounds)]
    return [quietest(of_file) for of_file in zip(*told, strict=True)], macs


def recipe_of(file: FileProfile) -> str:
    """Return the recipe of a file: its width and precision."""
    return file.name.split(" ", 1)[1]


def errors_of_macs(files: Sequence[FileProfile], macs: Sequence[int]) -> list[float]:
    """Return the relative errors of a line through MACs, by precision, for recipes that are left out in turn."""
    found = []
    for place, file in enumerate(files):
        precision = file.name.split()[-1]
        rest = [
            at
            for at, one in enumerate(files)
            if one.name.split()[-1] == precision and recipe_of(one) != recipe_of(file)
        ]
        features = np.array([[1.0, macs[at]] for at in rest])
        latencies = np.array([files[at].latency_ms for at in rest])
        line = np.linalg.lstsq(features / latencies[:, None], np.ones(len(rest)), rcond=None)[0]
        found.append(abs(float(line @ [1.0, macs[place]]) / file.latency_ms - 1))
    return found


def tell(name: str, ours: float, peer: float, n: int) -> None:
    """Print one line of results."""
    ratio, unit = round(peer / max(ours, 1e-9), 2), "share of the measured latency"
    line(name, unit, ours, peer, "a line through MACs", n, f"at most {GOAL:g}", ours <= GOAL, ratio=ratio)


def main() -> None:
    """Measure, leave recipes out in turn, and tell median and worst error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="timed runs of each file in a round")
    parser.add_argument("--rounds", type=int, default=12, help="in which all files are gone through")
    given = parser.parse_args()
    files, macs = measure(given.runs, given.rounds)
    ours = LatencyPredictor.fit("this machine", files, recipe_of).error
    peer = errors_of_macs(files, macs)
    tell("latency_predictor_median_error", ours.median, median(peer), ours.files)
    tell("latency_predictor_worst_error", ours.worst, max(peer), ours.files)


if __name__ == "__main__":
    main()
