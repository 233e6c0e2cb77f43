"""`shoal trials`: a version beside the one that serves, compared before it is rolled out."""

from typing import Annotated, Literal

import typer
from rich.console import Group
from rich.table import Table

from shoal_client.trials import Effect, StartedTrial, TrialDetail
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, cell, console, show, table

app = typer.Typer(help="A version beside the one that serves: in shadow, or for a share (A/B).", no_args_is_help=True)
SHOWN = 20
"""Devices that were left out that are drawn; `--json` has all."""

TrialId = Annotated[str, typer.Argument(metavar="TRIAL", help="Id of the trial.")]


@app.command(epilog="Example: shoal trials start digits 4 --share 0.1")
def start(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="The candidate: number, latest, stage or alias.")],
    mode: Annotated[
        Literal["shadow", "ab"], typer.Option(help="In shadow nobody gets the candidate's answers; ab splits.")
    ] = "shadow",
    against: Annotated[int | None, typer.Option(help="The version that serves; the most common without it.")] = None,
    share: Annotated[float, typer.Option(help="Of requests (shadow), or of keys or devices (ab).", min=0, max=1)] = 0.1,
    split: Annotated[
        Literal["key", "device"], typer.Option(help="What sticks to a side in an A/B trial: request keys or devices.")
    ] = "key",
    device: Annotated[
        list[str] | None, typer.Option(help="A device by id or name; may be repeated. All without it.")
    ] = None,
    duration_s: Annotated[float, typer.Option(help="Seconds after which it ends by itself.", min=60)] = 7 * 86_400.0,
    stop_after_samples: Annotated[
        int | None, typer.Option(help="End as soon as each side has seen so many samples.", min=1)
    ] = None,
    stop_on_harm: Annotated[
        bool, typer.Option("--stop-on-harm", help="End an A/B trial as soon as the candidate is shown to be worse.")
    ] = False,
    max_cpu_share: Annotated[
        float, typer.Option(help="Seconds that a candidate in shadow may run in each second, on a device.")
    ] = 0.25,
    max_memory_mb: Annotated[int, typer.Option(help="MB that an agent may grow by for the candidate.", min=1)] = 512,
    tolerance: Annotated[
        float, typer.Option(help="Of outputs without labels: the largest difference that is agreement.", min=0)
    ] = 0.0,
    hard_examples: Annotated[
        int, typer.Option(help="Inputs on which the two disagree that a device may send of a window.", min=0, max=16)
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Start a trial. What serves on the devices goes on; the candidate is brought and run beside it."""
    with connect() as client:
        devices = [find_device(client, named).id for named in device] if device else None
        trial = client.trials.start(
            model,
            version,
            against=against,
            mode=mode,
            devices=devices,
            share=share,
            split=split,
            duration_s=duration_s,
            stop_after_samples=stop_after_samples,
            stop_on_harm=stop_on_harm,
            max_cpu_share=max_cpu_share,
            max_memory_bytes=max_memory_mb * 1024 * 1024,
            tolerance=tolerance,
            hard_examples=hard_examples,
        )
    show(trial, as_json=as_json, draw=lambda: console.print(Group(draw(trial), *_misfits(trial))))


@app.command("list", epilog="Example: shoal trials list --model digits")
def list_trials(model: Annotated[str, typer.Option(help="Of one model only.")] = "", as_json: AsJson = False) -> None:
    """List trials, newest first."""
    with connect() as client:
        trials = client.trials.list(model=model)
    rows = [
        (one.id, f"{one.model} {one.version} against {one.against}", one.mode, one.share, one.state, one.ends_at)
        for one in trials
    ]
    columns = ("ID", "VERSIONS", "MODE", "SHARE", "STATE", "ENDS")
    show(trials, as_json=as_json, draw=lambda: table(columns, rows, empty="No trial yet: shoal trials start"))


@app.command("show", epilog="Example: shoal trials show t-abcdefgh")
def show_trial(trial: TrialId, as_json: AsJson = False) -> None:
    """Show a trial: both sides, or how often the candidate in shadow disagreed, and each device."""
    with connect() as client:
        found = client.trials.show(trial)
    show(found, as_json=as_json, draw=lambda: console.print(draw(found)))


@app.command(epilog="Example: shoal trials stop t-abcdefgh")
def stop(trial: TrialId, as_json: AsJson = False) -> None:
    """End a trial; its devices let the candidate go, and what serves goes on."""
    with connect() as client:
        found = client.trials.stop(trial)
    show(found, as_json=as_json, draw=lambda: console.print(draw(found)))


def draw(trial: TrialDetail) -> Group:
    """Return a trial as a headline, what it has come to, and a table of its devices."""
    what = "of the requests, in shadow" if trial.mode == "shadow" else f"by {trial.split}, A/B"
    headline = (
        f"{trial.id}: {trial.model} version {trial.version} against {trial.against}, {trial.share:.0%} {what}, "
        f"{cell(trial.state)}  {cell(trial.reason)}"
    )
    waits = ["Devices are told once the deltas to it are made."] if trial.is_waiting_for_deltas else []
    return Group(headline, *waits, *_results(trial), _devices(trial))


def _misfits(trial: StartedTrial) -> list[str]:
    """Return a line for each of the first devices that were left out."""
    lines = [
        f"left out: {cell(one.device_id)}: {cell(one.problem.message)}; {cell(one.problem.remedy)}"
        for one in trial.misfits[:SHOWN]
    ]
    rest = len(trial.misfits) - SHOWN
    return [*lines, f"[dim]and {rest} more are left out: --json has all[/dim]"] if rest > 0 else lines


def _results(trial: TrialDetail) -> list[str | Table]:
    if trial.shadow is not None:
        found = trial.shadow
        rate = "nothing compared yet"
        if found.disagreement_rate is not None and found.low is not None and found.high is not None:
            rate = f"{found.disagreement_rate:.2%} disagree (95 %: {found.low:.2%} to {found.high:.2%})"
        more = f"{found.errors} errors, {found.skipped} skipped, p95 {_ms(found.p95_ms)}"
        lines: list[str | Table] = [f"{found.compared} compared on {found.devices} devices: {rate}; {more}"]
        if found.accuracy is not None and found.against_accuracy is not None:
            both = f"{found.accuracy:.2%} against {found.against_accuracy:.2%} of the version that serves"
            lines.append(f"accuracy {both}, on {found.labelled} labelled samples")
        return lines
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("ARM", "VERSION", "DEVICES", "REQUESTS", "ERRORS", "P50", "P95", "CONFIDENCE", "ACCURACY"):
        drawn.add_column(column)
    for arm in trial.arms:
        rate = f"{arm.error_rate:.2%}" if arm.error_rate is not None else ""
        confidence = f"{arm.mean_confidence:.3f}" if arm.mean_confidence is not None else ""
        accuracy = f"{arm.accuracy:.2%} of {arm.labelled}" if arm.accuracy is not None else ""
        latency = (_ms(arm.p50_ms), _ms(arm.p95_ms))
        row = (arm.arm, arm.version, arm.devices, arm.requests, rate, *latency, confidence, accuracy)
        drawn.add_row(*(cell(value) for value in row))
    return [drawn, *map(_effect, trial.effects)]


def _effect(effect: Effect) -> str:
    if effect.estimate is None or effect.low is None or effect.high is None:
        return f"{effect.metric}: not tested, {cell(effect.reason)}"
    interval = f"{effect.low:+.4g} to {effect.high:+.4g} at any time with {effect.confidence:.0%}"
    return f"{effect.metric}: {effect.estimate:+.4g} {effect.unit} ({interval})"


def _devices(trial: TrialDetail) -> Table:
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("DEVICE", "ARM", "TARGET", "STATE", "PROBLEM"):
        drawn.add_column(column, overflow="fold")
    for one in trial.devices:
        drawn.add_row(*(cell(value) for value in (one.device_id, one.arm, one.target, one.state, one.problem)))
    return drawn


def _ms(value: float | None) -> str:
    return f"{value:g} ms" if value is not None else ""
