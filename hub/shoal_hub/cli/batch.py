"""`shoal batch`: jobs in which a model of a device answers files that are there already."""

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shoal_client import ClientError
from shoal_client.batches import Batch, BatchDetail, BatchDevice
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, facts, show, size_text, table

app = typer.Typer(help="Batch jobs: files on devices, answered by a model there.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the job.")]
_MEGABYTE = 1_000_000
_DAY_MINUTES = 24 * 60


@app.command(
    epilog="Example: shoal batch create march --model digits --input 'readings/*.csv' --group plant --fetch-mb 5"
)
def create(
    name: Name,
    model: Annotated[str, typer.Option(help="Name of the model.")],
    pattern: Annotated[str, typer.Option("--input", help="Pattern of files in a folder that the owner allows.")],
    version: Annotated[int | None, typer.Option(min=1, help="A version of the device; what serves without.")] = None,
    form: Annotated[Literal["jsonl", "csv", "parquet"], typer.Option(help="Of the answers.")] = "jsonl",
    keep: Annotated[list[str] | None, typer.Option(help="A column that goes along. May be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of devices that do it. May be repeated.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Name or id of a device. May be repeated.")] = None,
    always: Annotated[bool, typer.Option("--always", help="Work also while the device is busy.")] = False,
    max_load: Annotated[float, typer.Option(min=0, help="Share of the time spent on requests while idle.")] = 0.1,
    window: Annotated[list[str] | None, typer.Option(help="Work then alone, each day, as 01:00-05:00.")] = None,
    deadline_h: Annotated[float, typer.Option(min=0.01, help="Hours until it is given up.")] = 24.0,
    fetch_mb: Annotated[float, typer.Option(min=0, help="Answers of so many MB come to the hub; 0: none.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Hand a job out. Which files it reads, and whether answers leave the device, is for its owner to say."""
    deadline = datetime.now(timezone.utc) + timedelta(hours=deadline_h)
    body = {
        "model": model,
        "version": version,
        "input": pattern,
        "form": form,
        "keep": keep or [],
        "max_load": None if always else max_load,
        "windows": [_window(one) for one in window or ()],
        "deadline_at": deadline.isoformat(),
        "max_result_bytes": round(fetch_mb * _MEGABYTE),
    }
    with connect() as client:
        devices = [find_device(client, one).id for one in device or ()]
        made = client.batches.create(name, body, groups=group or (), devices=devices)
    show(made, as_json=as_json, draw=lambda: _draw_list([made]))


@app.command("list", epilog="Example: shoal batch list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100, as_json: AsJson = False
) -> None:
    """List jobs, the newest first."""
    with connect() as client:
        found = client.batches.list(limit=limit)
    show(found, as_json=as_json, draw=lambda: _draw_list(found))


@app.command("show", epilog="Example: shoal batch show march")
def show_batch(name: Name, as_json: AsJson = False) -> None:
    """Show a job, and how far each device is."""
    with connect() as client:
        found = client.batches.show(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal batch fetch march --folder answers/")
def fetch(
    name: Name,
    device: Annotated[str, typer.Option(help="Name or id of the only device.")] = "",
    folder: Annotated[Path, typer.Option(file_okay=False, help="Where to; made if it is missing.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write the answers that have come as NAME-DEVICE.FORM; the hub audits who fetched them."""
    with connect() as client:
        found = client.batches.show(name)
        wanted = find_device(client, device, decommissioned=True).id if device else ""
        chosen = [one for one in found.devices if one.is_stored and wanted in {"", one.device_id}]
        if not chosen:
            raise ClientError(f"no answers to {name} have come", f"look: shoal batch show {name}")
        folder.mkdir(parents=True, exist_ok=True)
        for one in chosen:
            path = folder / f"{found.name}-{one.device_id}.{found.body['form']}"
            path.write_bytes(client.batches.fetch(name, one.device_id))
    show(chosen, as_json=as_json, draw=lambda: console.print(f"answers of {len(chosen)} devices written to {folder}"))


@app.command(epilog="Example: shoal batch cancel march")
def cancel(name: Name, as_json: AsJson = False) -> None:
    """Take a job back: devices that are at it stop; answers that they have stay with them."""
    with connect() as client:
        was = client.batches.cancel(name)
    show(was, as_json=as_json, draw=lambda: _draw_list([was]))


def _window(text: str) -> dict[str, Any]:
    found = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text)
    if found is None:
        raise ClientError(f"reading the window {text}: it is none", "give one as 01:00-05:00")
    begin_h, begin_min, end_h, end_min = map(int, found.groups())
    minutes = (60 * (end_h - begin_h) + end_min - begin_min) % _DAY_MINUTES or _DAY_MINUTES
    return {"start": text[:5], "minutes": minutes}


def _draw_list(found: list[Batch]) -> None:
    rows = [
        (one.name, one.body["model"], one.body["input"], one.counts, one.body["deadline_at"], one.created_by, _at(one))
        for one in found
    ]
    columns = ("NAME", "MODEL", "INPUT", "DEVICES", "UNTIL", "BY", "MADE")
    table(columns, rows, empty="No batch job yet: shoal batch create")


def _at(batch: Batch) -> object:
    return batch.created_at if batch.cancelled_at is None else f"cancelled by {batch.cancelled_by}"


def _draw(found: BatchDetail) -> None:
    facts([("name", found.name), *found.body.items(), ("by", found.created_by), ("made", _at(found))])
    rows = [
        (
            one.name,
            one.device_id,
            one.state or one.outcome,
            one.step or f"{one.answered} answered, {one.rejected} rejected",
            _answers(one),
            f"{one.problem.message}; {one.problem.remedy}" if one.problem else "",
        )
        for one in found.devices
    ]
    table(("DEVICE", "ID", "STATE", "ROWS", "ANSWERS", "PROBLEM"), rows, empty="No device.")


def _answers(device: BatchDevice) -> str:
    if not device.result_bytes:
        return ""
    return f"{size_text(device.result_bytes)} {'at the hub' if device.is_stored else 'on the device'}"
