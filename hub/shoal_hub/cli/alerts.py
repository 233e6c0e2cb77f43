"""`shoal alerts`: what fires, who looks after it, what is kept quiet; rules and channels below."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from shoal_client import ClientError
from shoal_client.alerts import Alert, AlertDetail, Silence
from shoal_hub.cli import alert_channels, alert_rules
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, facts, show, table

app = typer.Typer(help="Alerts: what fires, by which rules, and who is told.", no_args_is_help=True)
app.add_typer(alert_rules.app, name="rules")
app.add_typer(alert_channels.app, name="channels")

AlertId = Annotated[str, typer.Argument(metavar="ID", help="The alert, al-….")]
_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([1-9]\d{0,5})([mhd])")
_MATCHER = re.compile(r"([^=!]+)(!?=)(.*)")


@app.command("list", epilog="Example: shoal alerts list --state firing --severity critical")
def list_alerts(
    state: Annotated[
        list[str] | None, typer.Option(help="pending, firing or resolved; several times for several.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Of this rule only.")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or critical only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List alerts, those that began last first; without --state, those that are not over."""
    with connect() as client:
        found = client.alerts.list(states=state or (), rule=rule, severity=severity, limit=limit)  # type: ignore[arg-type]  # the hub says what there is
    rows = [
        (one.id, one.rule, one.severity, one.state, _named(one), one.message, _care(one), one.pending_at)
        for one in found
    ]
    columns = ("ID", "RULE", "SEVERITY", "STATE", "OF", "FOUND", "CARE", "SINCE")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="No alert: all is as it should be"))


@app.command("show", epilog="Example: shoal alerts show al-abcdefgh")
def show_alert(alert_id: AlertId, as_json: AsJson = False) -> None:
    """Show an alert, and who was told of it."""
    with connect() as client:
        found = client.alerts.show(alert_id)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog='Example: shoal alerts ack al-abcdefgh --note "the camera is being cleaned"')
def ack(
    alert_id: AlertId,
    note: Annotated[str, typer.Option(help="What others should know.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say that you look after an alert: it is not repeated any more. Its end is told all the same."""
    with connect() as client:
        found = client.alerts.acknowledge(alert_id, note)
    show(found, as_json=as_json, draw=lambda: console.print(f"{found.id} is looked after by you"))


@app.command(epilog="Example: shoal alerts silence model=digits group!=north --for 2h --reason maintenance")
def silence(
    matchers: Annotated[
        list[str],
        typer.Argument(metavar="LABEL=VALUE...", help="What alerts it covers, or LABEL!=VALUE; all must fit."),
    ],
    lasts: Annotated[str, typer.Option("--for", help="How long, like 30m, 2h or 7d.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    start_in: Annotated[str, typer.Option(help="From when on, like 30m from now; at once without.")] = "",
    as_json: AsJson = False,
) -> None:
    """Have alerts with such labels told to nobody for a time; they are listed all the same."""
    now = datetime.now(UTC)
    starts_at = now + _duration(start_in) if start_in else None
    ends_at = (starts_at or now) + _duration(lasts)
    with connect() as client:
        made = client.alerts.silence([_matcher(one) for one in matchers], ends_at, reason, starts_at=starts_at)
    show(made, as_json=as_json, draw=lambda: _draw_silences([made]))


@app.command(epilog="Example: shoal alerts silences")
def silences(
    over: Annotated[bool, typer.Option("--over", help="Those that are over instead.")] = False, as_json: AsJson = False
) -> None:
    """List silences that are at work or to come."""
    with connect() as client:
        found = client.alerts.silences(over=over)
    show(found, as_json=as_json, draw=lambda: _draw_silences(found))


@app.command(epilog="Example: shoal alerts unsilence as-abcdefgh")
def unsilence(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="The silence, as-….")], as_json: AsJson = False
) -> None:
    """End a silence before its time."""
    with connect() as client:
        was = client.alerts.unsilence(silence_id)
    show(was, as_json=as_json, draw=lambda: console.print(f"{was.id} is over"))


@app.command(epilog="Example: shoal alerts thresholds digits --set accuracy=0.9 --set p95_latency=40")
def thresholds(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="METRIC=VALUE", help="What is too bad from now on.")
    ] = None,
    resets: Annotated[
        list[str] | None, typer.Option("--reset", metavar="METRIC", help="Back to the metric's own threshold.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is too bad for a model, by metric, or change it.

    Metrics are accuracy, precision, recall, f1, auc, mae, rmse, estimated_accuracy, p95_latency in ms, error_rate; f1,
    auc, mae and rmse have no threshold until one is set.
    """
    changed = dict(_setting(one) for one in sets or ())
    with connect() as client:
        found = client.alerts.thresholds(model)
        if changed or resets:
            wanted = dict(found.thresholds) | changed
            kept = {metric: value for metric, value in wanted.items() if metric not in (resets or ())}
            found = client.alerts.set_thresholds(model, kept)
    show(found, as_json=as_json, draw=lambda: table(("METRIC", "THRESHOLD"), found.thresholds.items(), empty="None"))


@app.command(epilog="Example: shoal alerts deliveries --state failed")
def deliveries(
    state: Annotated[str | None, typer.Option(help="queued, sent or failed only.")] = None,
    channel: Annotated[str | None, typer.Option(help="To this channel only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what was to be told, and how far it is, the latest first."""
    with connect() as client:
        found = client.alerts.deliveries(state=state, channel=channel, limit=limit)
    show(found, as_json=as_json, draw=lambda: alert_channels.draw_deliveries(found))


def _named(one: Alert) -> dict[str, str]:
    return {name: value for name, value in sorted(one.labels.items()) if name not in {"rule", "severity"}}


def _care(one: Alert) -> str:
    if one.acknowledgement is not None:
        return f"acknowledged by {one.acknowledgement.by}"
    return f"silenced by {', '.join(one.silenced_by)}" if one.silenced_by else ""


def _draw(found: AlertDetail) -> None:
    word = found.acknowledgement
    facts(
        [
            ("rule", found.rule),
            ("severity", found.severity),
            ("state", found.state),
            ("of", _named(found)),
            ("found", found.message),
            ("pending", found.pending_at),
            ("fired", found.fired_at),
            ("resolved", found.resolved_at),
            ("why it ended", found.resolution),
            ("looked after", f"by {word.by}: {word.note}" if word else None),
            ("silenced by", found.silenced_by),
        ]
    )
    rows = [
        (one.channel, one.transition, one.state or "waits", one.attempts, one.problem, one.created_at)
        for one in found.notices
    ]
    table(("CHANNEL", "TOLD", "STATE", "ATTEMPTS", "PROBLEM", "NOTED"), rows, empty="Nobody was told of it")


def _draw_silences(found: list[Silence]) -> None:
    rows = [
        (
            one.id,
            [f"{matcher['label']}{matcher['op']}{matcher['value']}" for matcher in one.matchers],
            one.reason,
            one.created_by,
            one.starts_at,
            one.ends_at,
        )
        for one in found
    ]
    table(("ID", "COVERS", "REASON", "BY", "STARTS", "ENDS"), rows, empty="No silence: shoal alerts silence")


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ClientError(f"{text!r} is no length of time", "give a number and m, h or d, like 90m, 2h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _matcher(text: str) -> dict[str, str]:
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ClientError(f"{text!r} covers nothing", "give LABEL=VALUE or LABEL!=VALUE, like model=digits")
    return {"label": found[1], "op": found[2], "value": found[3]}


def _setting(text: str) -> tuple[str, float]:
    metric, _, value = text.partition("=")
    try:
        return metric, float(value)
    except ValueError as error:
        raise ClientError(f"{text!r} is no threshold", "give METRIC=VALUE, like accuracy=0.9") from error
