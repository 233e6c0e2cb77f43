"""`shoal-agent batch`: a model of this device answers files, beside the agent and below it in priority."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from shoal_agent.cli_options import data_option, json_option, readable
from shoal_contract import __version__

if TYPE_CHECKING:
    from shoal_agent.batch.pace import Pace
    from shoal_contract.update_policy import MaintenanceWindow

STOPPED_EXIT_CODE: Final = 75
"""EX_TEMPFAIL of sysexits.h: the same command goes on."""
_MOST_BATCH: Final = 65_536
_PARENT_LOOK_S: Final = 1.0


class _Window(click.ParamType["MaintenanceWindow"]):
    """A stretch of each day such as 01:00-05:00."""

    name = "window"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> "MaintenanceWindow":
        from shoal_agent.batch.pace import parse_window

        try:
            return parse_window(str(value))
        except ValueError:
            self.fail(f"{value} found, a window such as 01:00-05:00 expected", param, ctx)


class _Bar:
    """A progress bar where somebody looks at the terminal, and nothing elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._done = 0

    def begin(self, total_bytes: int) -> None:
        if sys.stderr.isatty():
            self._bar = click.progressbar(length=max(1, total_bytes), label="batch", file=sys.stderr)
            self._bar.render_progress()

    def progress(self, done_bytes: int) -> None:
        if self._bar is not None:
            self._bar.update(done_bytes - self._done)
            self._done = done_bytes

    def tell(self, reason: str) -> None:
        click.echo(f"resting: {reason}", err=True)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()


batch_folder_option = click.option(
    "--batch-folder",
    "batch_folders",
    type=click.Path(path_type=Path),
    multiple=True,
    envvar="SHOAL_AGENT_BATCH_FOLDER",
    show_envvar=True,
    help="A folder whose files batch jobs of the hub may read; default: inputs in the data folder.",
)
send_results_option = click.option(
    "--send-batch-results",
    is_flag=True,
    envvar="SHOAL_AGENT_SEND_BATCH_RESULTS",
    show_envvar=True,
    help="Let answers of batch jobs go to the hub if it asks for them; else they stay on this device.",
)


no_benchmarks_option = click.option(
    "--no-benchmarks",
    is_flag=True,
    envvar="SHOAL_AGENT_NO_BENCHMARKS",
    show_envvar=True,
    help="Do not measure files of the hub on this device when it is idle.",
)


@click.command(
    "batch", epilog="Example: shoal-agent batch --model digits --input '*.parquet' --output answers.parquet --when-idle"
)
@data_option
@click.option("--model", required=True, help="The model's name.")
@click.option(
    "--model-version", type=click.IntRange(1), default=None, help="A version that the device has; default: what serves."
)
@click.option(
    "--input",
    "inputs",
    required=True,
    multiple=True,
    help="A file (.parquet, .csv, .tsv, .jsonl, .avro, an image), a folder of images, or a pattern. May be repeated.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where answers go: .parquet, .csv or .jsonl. Its journal lies beside it.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Where rows without an answer go, with the reason; default: <output>.rejects.jsonl.",
)
@click.option("--keep", multiple=True, help="A column of the input that goes along into the output. May be repeated.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, _MOST_BATCH),
    default=32,
    show_default=True,
    help="Samples that the model is asked at a time.",
)
@click.option("--restart", is_flag=True, help="Begin anew, and replace what there is.")
@click.option("--when-idle", is_flag=True, help="Rest while the agent serves at more than --max-load.")
@click.option(
    "--max-load",
    type=click.FloatRange(0),
    default=0.1,
    show_default=True,
    help="Share of the time that the agent may spend on requests before the job rests.",
)
@click.option(
    "--window",
    "windows",
    type=_Window(),
    multiple=True,
    help="Work only then, each day, such as 01:00-05:00. May be repeated.",
)
@click.option(
    "--time-zone",
    default="",
    envvar="SHOAL_AGENT_TIME_ZONE",
    show_envvar=True,
    help="IANA name of the zone that windows are in; default: the system's.",
)
@click.option(
    "--nice",
    "niceness",
    type=click.IntRange(0, 19),
    default=19,
    show_default=True,
    help="How far the job gives way to other processes.",
)
@click.option(
    "--end-with", "parent", type=click.IntRange(1), default=None, hidden=True, help="Stop once this parent has ended."
)
@json_option
@click.version_option(__version__, message="%(version)s")
@readable
def batch_command(
    *,
    data: Path,
    model: str,
    model_version: int | None,
    inputs: tuple[str, ...],
    output: Path,
    rejects: Path | None,
    keep: tuple[str, ...],
    batch_size: int,
    restart: bool,
    when_idle: bool,
    max_load: float,
    windows: "tuple[MaintenanceWindow, ...]",
    time_zone: str,
    niceness: int,
    parent: int | None,
    as_json: bool,
) -> None:
    """Have a model of this device answer every row of files, or every image of a folder.

    Killed or stopped at any point, the same command goes on from where it was. It exits with 75 if it was asked to
    stop before the end, and with 1 if it could not be done or no row at all could be answered.
    """
    from shoal_agent.batch.job import Job, Watcher, run_job

    os.nice(niceness)
    beside = output.with_name(f"{output.name}.rejects.jsonl")
    job = Job(
        data=data,
        model=model,
        inputs=inputs,
        output=output,
        rejects=rejects or beside,
        version=model_version,
        keep=keep,
        batch_size=batch_size,
        is_restart=restart,
    )
    bar = _Bar()
    with _stopping() as stop:
        if parent is not None:
            threading.Thread(target=_end_with, args=(parent, stop), daemon=True).start()
        pace = _pace(stop, data, time_zone, windows, max_load if when_idle else None)
        summary = _until_stopped(lambda: run_job(job, pace, Watcher(bar.begin, bar.progress, bar.tell)), bar)
    click.echo(json.dumps(summary) if as_json else _told(summary))
    if summary["rejected"] and not summary["answered"]:
        raise SystemExit(1)


def _until_stopped(run: Callable[[], dict[str, Any]], bar: _Bar) -> dict[str, Any]:
    """Return a job's summary, or exit with a code of its own where it was asked to stop."""
    from shoal_agent.batch.errors import StoppedError

    try:
        return run()
    except StoppedError as error:
        click.echo(f"stopped: {error}\n  do: {error.remedy}", err=True)
        raise SystemExit(STOPPED_EXIT_CODE) from error
    finally:
        bar.end()


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield what is set at SIGTERM and SIGINT, for the length of the block."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with(parent: int, stop: threading.Event) -> None:
    """Have the job stop once the process that started it has ended, be it by a kill."""
    while os.getppid() == parent and not stop.wait(_PARENT_LOOK_S):
        pass
    stop.set()


def _pace(
    stop: threading.Event,
    data: Path,
    time_zone: str,
    windows: "tuple[MaintenanceWindow, ...]",
    max_load: float | None,
) -> "Pace":
    from datetime import datetime, timezone

    from shoal_agent.batch.pace import AgentLoad, Pace
    from shoal_agent.local_endpoint import ask, endpoint_of
    from shoal_agent.time_zone import find_time_zone

    zone = find_time_zone(time_zone)
    load = None if max_load is None else AgentLoad(lambda: ask(endpoint_of(data), "GET", "/v2/models/stats"))
    return Pace(
        stop=stop,
        local_now=lambda: zone.to_local(datetime.now(timezone.utc)),
        windows=windows,
        load=load,
        max_load=max_load or 0.0,
    )


def _told(summary: dict[str, Any]) -> str:
    """Return a summary for a person."""
    rows = summary["answered"] + summary["rejected"]
    said = f"{summary['answered']} of {rows} rows answered in {summary['seconds']:.1f} s"
    lines = [
        f"{summary['model']} version {summary['version']} ({summary['target']}): {said}",
        f"answers   {summary['output']}",
    ]
    if summary["rejects"]:
        lines.append(f"rejected  {summary['rejected']} rows, with the reasons in {summary['rejects']}")
    return "\n".join(lines)
