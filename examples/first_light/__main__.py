"""First light: one model from training to a fleet and back, over a real broker. `make demo` runs it.

Starts a hub, trains and compresses a model, enrols three agents, rolls out, serves, sees drift, trains on the
devices, rolls the better version out and rolls back. Everything runs on loopback and in one temporary folder.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from examples.first_light.fleet import Fleet
from examples.first_light.report import Report
from examples.first_light.steps import STEPS, Demo
from rich.console import Console

from shoal_client.errors import ClientError
from shoal_training.errors import TrainingError


def main() -> int:
    """Run every step; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, default=Path("demo-report.json"), help="where the JSON report goes")
    parser.add_argument("--folder", type=Path, help="keep all data here instead of in a temporary folder")
    parser.add_argument("--seed", type=int, default=7, help="of the data's splits, the training and the shift")
    options = parser.parse_args()
    console = Console()
    keep = bool(os.environ.get("KEEP"))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="shoal-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    with Fleet(folder, keep=keep) as fleet:
        demo = Demo(console, fleet, options.seed)
        report = Report()
        try:
            for number, (title, step) in enumerate(STEPS, start=1):
                console.rule(f"[bold]{number}. {title}", align="left")
                with report.timed(number, title):
                    report.add(number, step(demo))
        except (ClientError, TrainingError, RuntimeError) as error:
            console.print(f"[red]step {number} failed:[/] {error}\nlogs: {folder}")
            fleet.keep_logs()
            return 1
        report.print(console)
        report.write(options.report)
        console.print(f"report: {options.report}   everything in {report.total_s:.0f} s")
        if keep:
            fleet.say_goodbye(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
