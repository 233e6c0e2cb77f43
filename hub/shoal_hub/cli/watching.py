"""`shoal drift` and `shoal events`: what the hub has noticed."""

from collections.abc import Sequence
from typing import Annotated

import typer

from shoal_client.fleet import Event, LeadingFeature
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, cell, console, print_json, print_line, show, table

drift_app = typer.Typer(help="Drift: inputs that have moved away from the training data.", no_args_is_help=True)


@drift_app.command("list", epilog="Example: shoal drift list --model digits")
def list_signals(
    model: Annotated[str | None, typer.Option(help="Of one model only.")] = None,
    state: Annotated[str | None, typer.Option(help="In one state only.")] = None,
    as_json: AsJson = False,
) -> None:
    """List drift signals, newest first, with the features that lead."""
    with connect() as client:
        signals = client.drift.list(model=model, state=state)
    rows = [
        (
            one.id,
            f"{one.model} {one.version}",
            one.rule,
            one.state,
            len(one.devices),
            one.samples,
            _distance(one.features),
            [feature.name for feature in one.features[:3]],
            one.raised_at,
        )
        for one in signals
    ]
    columns = ("ID", "VERSION", "RULE", "STATE", "DEVICES", "SAMPLES", "KS", "FEATURES", "RAISED")
    show(signals, as_json=as_json, draw=lambda: table(columns, rows, empty="No drift has been noticed."))


def _distance(features: Sequence[LeadingFeature]) -> str | None:
    """Return the distance of the first feature, and by how much that of the raw values may be larger."""
    if not features or features[0].ks is None:
        return None
    return f"{features[0].ks:.3f} +{features[0].resolution or 0.0:.3f}"


@drift_app.command("quarantine", epilog="Example: shoal drift quarantine --device cam-3 --reason late")
def list_quarantined(
    device: Annotated[str | None, typer.Option(help="Of one device, by id or name.")] = None,
    model: Annotated[str | None, typer.Option(help="Of one model only.")] = None,
    reason: Annotated[str | None, typer.Option(help="For one reason only, like another_baseline.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 100,
    as_json: AsJson = False,
) -> None:
    """List windows that were not merged, newest first, and why; docs/guides/drift.md says what to do."""
    with connect() as client:
        device_id = find_device(client, device, decommissioned=True).id if device else None
        found = client.drift.quarantine(device=device_id, model=model, reason=reason, limit=limit)
    rows = [(one.received_at, one.device_id, f"{one.model} {one.version}", one.reason, one.message) for one in found]
    columns = ("RECEIVED", "DEVICE", "VERSION", "REASON", "WHY")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="Every window was merged."))


def events(
    device: Annotated[str | None, typer.Option(help="Of one device, by id or name.")] = None,
    subject: Annotated[str | None, typer.Option(help="About one thing, like rollout/r-abcdefgh.")] = None,
    limit: Annotated[int, typer.Option(help="How many of the last.", min=1, max=1000)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what has happened; with --follow, what happens. With --follow, --json prints one event a line."""
    with connect() as client:
        device_id = find_device(client, device).id if device else None
        if follow:
            for event in client.follow_events(device=device_id, subject=subject, last=limit):
                if as_json:
                    print_line(event)
                else:
                    _draw(event)
            return
        found = client.events(device=device_id, subject=subject, limit=limit)
    if as_json:
        print_json(found)
        return
    for event in found:
        _draw(event)
    if not found:
        console.print("[dim]Nothing has happened yet.[/dim]")


def _draw(event: Event) -> None:
    severity = "" if event.severity == "info" else f"{cell(event.severity)} "
    console.print(f"[dim]{event.at:%Y-%m-%d %H:%M:%S}[/dim] {severity}{cell(event.message)}", soft_wrap=True)
