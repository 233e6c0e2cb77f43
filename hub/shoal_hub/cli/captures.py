"""`shoal captures`: samples of real requests that devices send, as far as their owners let them out."""

from pathlib import Path
from typing import Annotated

import typer

from shoal_client import ClientError, ShoalClient
from shoal_client.captures import Capture, CaptureRequest
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, show, size_text, table

app = typer.Typer(help="Captured samples: what devices are asked for, and what has come.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
OfModel = Annotated[str, typer.Option("--model", help="Of this model only.")]
OfVersion = Annotated[int | None, typer.Option("--version", min=1, help="Of this version of the model only.")]
OfDevice = Annotated[str, typer.Option("--device", help="Of the device with this id or name only.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of samples, cp-….")]
_MEGABYTE = 1_000_000


@app.command(epilog="Example: shoal captures want digits --group cameras --reason low_confidence --samples-per-day 50")
def want(
    model: Model,
    group: Annotated[str | None, typer.Option(help="Whose devices; all of the fleet without.")] = None,
    reason: Annotated[
        list[str] | None,
        typer.Option(
            help="Only samples picked for this: random, low_confidence, disagreement, class, outside_baseline. "
            "May be given several times."
        ),
    ] = None,
    samples_per_day: Annotated[int, typer.Option(min=1, help="Most of one device in a day of UTC.")] = 100,
    mb_per_day: Annotated[float, typer.Option(min=0.000001, help="The same in MB.")] = 10.0,
    after_s: Annotated[float, typer.Option(min=0, help="Age in s before one is sent; labels have so long.")] = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Ask devices for captured samples of a model. Nothing comes from a device whose owner does not let any out."""
    with connect() as client:
        made = client.captures.want(
            model,
            group=group,
            reasons=reason or (),
            max_samples_per_day=samples_per_day,
            max_bytes_per_day=max(1, round(mb_per_day * _MEGABYTE)),
            after_s=after_s,
        )
    show(made, as_json=as_json, draw=lambda: _draw_requests([made]))


@app.command(epilog="Example: shoal captures unwant digits")
def unwant(model: Model, as_json: AsJson = False) -> None:
    """Cease to ask for samples of a model; those that have come stay."""
    with connect() as client:
        was = client.captures.unwant(model)
    show(was, as_json=as_json, draw=lambda: console.print(f"samples of {was.model} are asked for no more"))


@app.command(epilog="Example: shoal captures wanted")
def wanted(as_json: AsJson = False) -> None:
    """List what devices are asked for, by model."""
    with connect() as client:
        found = client.captures.wanted()
    show(found, as_json=as_json, draw=lambda: _draw_requests(found))


@app.command("list", epilog="Example: shoal captures list --model digits --limit 20")
def list_captures(
    model: OfModel = "",
    version: OfVersion = None,
    device: OfDevice = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List samples that have come, the newest first."""
    with connect() as client:
        found = client.captures.list(model=model, version=version, device_id=_id(client, device), limit=limit)
    rows = [
        (
            one.id,
            one.device_id,
            f"{one.model} {one.version}",
            one.reasons,
            one.label,
            one.true_label,
            one.confidence,
            size_text(one.size_bytes),
            one.at,
        )
        for one in found
    ]
    columns = ("ID", "DEVICE", "MODEL", "PICKED FOR", "LABEL", "TRUE LABEL", "CONFIDENCE", "SIZE", "SEEN")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="No sample has come: shoal captures want"))


@app.command(epilog="Example: shoal captures fetch --model digits --folder samples/")
def fetch(
    ids: Ids = None,
    model: OfModel = "",
    version: OfVersion = None,
    device: OfDevice = "",
    folder: Annotated[Path, typer.Option(file_okay=False, help="Where to; made if it is missing.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write samples as ID.npz, and what is known of each as ID.json; the hub audits who fetched them."""
    with connect() as client:
        found = _chosen(client, ids, model, version, device)
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            (folder / f"{one.id}.npz").write_bytes(client.captures.fetch(one.id))
            (folder / f"{one.id}.json").write_text(one.model_dump_json(indent=2), encoding="utf-8")
    show(found, as_json=as_json, draw=lambda: console.print(f"{len(found)} samples written to {folder}"))


@app.command(epilog="Example: shoal captures delete --model digits --version 3")
def delete(
    ids: Ids = None, model: OfModel = "", version: OfVersion = None, device: OfDevice = "", as_json: AsJson = False
) -> None:
    """Delete samples at the hub: those named, or all of a model."""
    with connect() as client:
        found = _chosen(client, ids, model, version, device)
        if ids:
            for one in found:
                client.captures.delete(one.id)
        elif found:
            client.captures.delete_all(model, version=version, device_id=_id(client, device))
    show(found, as_json=as_json, draw=lambda: console.print(f"{len(found)} samples deleted"))


def _chosen(client: ShoalClient, ids: list[str] | None, model: str, version: int | None, device: str) -> list[Capture]:
    if bool(ids) == bool(model):
        raise ClientError("neither ids nor a model is named, or both", "give ids of samples, or --model MODEL")
    if ids:
        return [client.captures.show(one) for one in ids]
    return list(client.captures.all(model=model, version=version, device_id=_id(client, device)))


def _id(client: ShoalClient, named: str) -> str:
    return find_device(client, named, decommissioned=True).id if named else ""


def _draw_requests(found: list[CaptureRequest]) -> None:
    rows = [
        (
            one.model,
            one.group or "all devices",
            one.reasons or "any",
            one.max_samples_per_day,
            size_text(one.max_bytes_per_day),
            f"{one.after_s:g} s",
            one.set_by,
            one.set_at,
        )
        for one in found
    ]
    columns = ("MODEL", "OF", "PICKED FOR", "SAMPLES A DAY", "BYTES A DAY", "AFTER", "BY", "SET")
    table(columns, rows, empty="No samples are asked for: shoal captures want")
