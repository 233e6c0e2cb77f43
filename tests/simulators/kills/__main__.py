"""`make kill-matrix`: the full numbers, printed as a table; `--help` says how to repeat a round."""

import argparse
import os
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tests.simulators.kills.matrix import Matrix
from tests.simulators.kills.scene import agent_matrix, simulated_matrix
from tests.simulators.kills.table import print_sums

SEED: Final = 20261128


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    options = _options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="shoal-kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["SHOAL_PASSPHRASE_FILE"] = str(folder / "passphrase")
    sys.stdout.write(f"seed {options.seed}; everything lies in {folder}\n")
    found = []
    if options.simulated:
        scene = simulated_matrix(folder / "simulated", models=8, devices=16, processes=2, out=sys.stdout)
        found += _run(scene, "simulated devices", options.simulated, options)
    if options.agents:
        scene = agent_matrix(folder / "agents", models=4, devices=4, out=sys.stdout)
        found += _run(scene, "agents", options.agents, options)
    return 1 if found else 0


def _run(scene: AbstractContextManager[Matrix], name: str, rollouts: int, options: argparse.Namespace) -> list[str]:
    """Run the rounds of one fleet, and print the table whatever happens; return what is wrong."""
    with scene as matrix:
        try:
            matrix.run(options.seed, rollouts, options.first_round)
        finally:
            print_sums(name, matrix.sums, sys.stdout)
        return matrix.sums.problems


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Kill parts of a hub and devices amid rollouts; nothing may be lost, done twice or wrong.",
        epilog="One round again, of a fresh hub: --simulated 1 --agents 0 --seed SEED --first-round NUMBER",
    )
    parser.add_argument("--simulated", type=int, default=200, help="rollouts over simulated devices (default 200)")
    parser.add_argument("--agents", type=int, default=20, help="rollouts over real agents (default 20)")
    parser.add_argument("--seed", type=int, default=SEED, help="of all that happens")
    parser.add_argument("--first-round", type=int, default=0, help="number of the first round")
    parser.add_argument("--folder", default="", help="where data and logs lie afterwards (default: a new one)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
