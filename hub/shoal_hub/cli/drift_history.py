"""`shoal drift history` and `shoal drift explain`: how inputs have lain over time, and what is behind drift."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from shoal_client import ClientError
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.drift_view import draw_cause, draw_history
from shoal_hub.cli.output import AsJson, console, show
from shoal_hub.cli.watching import drift_app

__all__ = ["drift_app", "explain", "show_history"]

_SIGNAL = "ds-"


class Span(StrEnum):
    """What a history goes by."""

    HOUR = "hour"
    DAY = "day"


_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@drift_app.command("history", epilog="Example: shoal drift history digits 3 --days 90 --group north")
def show_history(
    model: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[int | None, typer.Argument(help="Its version; the latest if none is given.", min=1)] = None,
    by: Annotated[Span, typer.Option(help="Hours or days.")] = Span.DAY,
    days: Annotated[float, typer.Option(help="How many days back.", min=0.04, max=1000)] = 30,
    until: Annotated[
        datetime | None, typer.Option(help="The end, in UTC; now if none is given.", formats=_TIMES)
    ] = None,
    device: Annotated[str | None, typer.Option(help="Of one device, by id or name.")] = None,
    group: Annotated[str | None, typer.Option(help="Of a group.")] = None,
    tag: Annotated[str | None, typer.Option(help="Of the devices with a tag's value, like site=paris.")] = None,
    query: Annotated[str | None, typer.Option(help="Of the devices that match a query now.")] = None,
    feature: Annotated[list[str] | None, typer.Option(help="Of these features only; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="Features at most, those that lead.", min=1, max=1000)] = 10,
    as_json: AsJson = False,
) -> None:
    """Show how a version's inputs have lain against what it was trained on, day by day or hour by hour."""
    end = _utc(until) if until else datetime.now(UTC)
    with connect() as client:
        device_id = find_device(client, device, decommissioned=True).id if device else None
        found = client.drift.history(
            model,
            version,
            by=by.value,
            since=end - timedelta(days=days),
            until=end,
            device=device_id,
            group=group,
            tag=tag,
            query=query,
            features=feature or (),
            limit=limit,
        )
    show(found, as_json=as_json, draw=lambda: console.print(draw_history(found, console.width)))


@drift_app.command("explain", epilog="Example: shoal drift explain ds-abcdefgh")
def explain(
    of: Annotated[str, typer.Argument(metavar="SIGNAL|MODEL", help="A signal's id, or a model.")],
    version: Annotated[
        int | None, typer.Argument(help="The model's version; the latest if none is given.", min=1)
    ] = None,
    at: Annotated[
        datetime | None, typer.Option(help="When it was so, in UTC; now if not given.", formats=_TIMES)
    ] = None,
    devices: Annotated[int, typer.Option(help="Devices at most.", min=1, max=1000)] = 10,
    features: Annotated[int, typer.Option(help="Features at most.", min=1, max=1000)] = 10,
    histograms: Annotated[int, typer.Option(help="Features with histograms.", min=0, max=64)] = 4,
    as_json: AsJson = False,
) -> None:
    """Show what is behind drift: which features lead, which devices show it, since when, and before and after."""
    is_signal = of.startswith(_SIGNAL)
    if is_signal and version is not None:
        raise ClientError(f"a signal and a version found: {of} {version}", "give the signal alone, or MODEL VERSION")
    with connect() as client:
        found = client.drift.cause(
            of if is_signal else None,
            model=None if is_signal else of,
            version=version,
            at=_utc(at) if at else None,
            devices=devices,
            features=features,
            histograms=histograms,
        )
    show(found, as_json=as_json, draw=lambda: console.print(draw_cause(found, console.width)))


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
