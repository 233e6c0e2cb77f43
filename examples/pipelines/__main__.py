"""Four pipelines on real data, from raw files to agents that answer: `python -m examples.pipelines`; `make examples`.

Starts a hub and two agents, and takes each pipeline the whole way: trained, registered, compressed, measured on an
agent, rolled out, and asked. Everything runs on loopback and in one temporary folder.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from examples.first_light.fleet import Fleet
from examples.pipelines.data import HERE, write_data
from examples.pipelines.walk import RECIPES, Came, started
from rich.console import Console
from rich.table import Table

from shoal_client.errors import ClientError
from shoal_training.errors import TrainingError

PROGRESS = Console(stderr=True)


def main() -> int:
    """Take the pipelines that are asked for the whole way; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}; all of them without")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print what came of them as JSON")
    parser.add_argument("--folder", type=Path, help="keep all data here instead of in a temporary folder")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(RECIPES))
    if unknown:
        parser.error(f"no pipeline is called {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="shoal-examples-"))
    folder.mkdir(parents=True, exist_ok=True)
    keep = bool(os.environ.get("KEEP"))
    with Fleet(folder, keep=keep) as fleet:
        try:
            found = _walked(fleet, options.names or [*RECIPES])
        except (ClientError, TrainingError, RuntimeError) as error:
            PROGRESS.print(f"[red]failed:[/] {error}\nlogs: {folder}")
            fleet.keep_logs()
            return 1
        if options.as_json:
            print(json.dumps([asdict(one) for one in found], indent=2))
        else:
            _draw(found)
        if keep:
            fleet.say_goodbye(PROGRESS)
    return 0


def _walked(fleet: Fleet, names: list[str]) -> list[Came]:
    found = []
    with started(fleet) as walk:
        for name in names:
            PROGRESS.rule(f"[bold]{name}", align="left")
            write_data(name)
            found.append(walk.go(HERE / name / "pipeline.yaml", RECIPES[name]))
    return found


def _draw(found: list[Came]) -> None:
    table = Table(title="From raw rows to agents that answer", title_justify="left")
    for column in ("model", "trained", "on agents", "same", "KB", "recipe", "train, compress, roll out, ask: s"):
        table.add_column(column)
    for came in found:
        lowest, same = min(came.on_agents.values()), min(came.agreement.values())
        size = f"{came.bytes_before / 1000:.1f} → {came.bytes_after / 1000:.1f}"
        took = " + ".join(f"{value:.1f}" for value in came.seconds.values())
        measured = f"{came.metric} {came.trained:.3f}"
        table.add_row(came.model, measured, f"{lowest:.3f}", f"{same:.1%}", size, came.recipe, took)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
