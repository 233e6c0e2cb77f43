"""`shoal alerts rules`: what is looked for, for how long, and who is told."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from shoal_client import ClientError
from shoal_client.alerts import AlertRule
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, facts, show, table

app = typer.Typer(help="Rules: what is looked for, for how long, and who is told.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The rule's name.")]


@app.command("list", epilog="Example: shoal alerts rules list")
def list_rules(as_json: AsJson = False) -> None:
    """List rules, the hub's own ones among them."""
    with connect() as client:
        found = client.alerts.rules()
    rows = [
        (
            one.name,
            _condition(one),
            f"{one.rule['for_s']:g} s",
            one.rule["severity"],
            one.rule["channels"] or "all",
            "on" if one.rule["is_enabled"] else "off",
            one.set_by or "the hub",
        )
        for one in found
    ]
    columns = ("NAME", "WHEN", "FOR", "SEVERITY", "CHANNELS", "STATE", "SET BY")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="There are no rules"))


@app.command("show", epilog="Example: shoal alerts rules show accuracy-low --json")
def show_rule(name: Name, as_json: AsJson = False) -> None:
    """Show a rule; what --json prints under `rule` is what `rules add --file` takes."""
    with connect() as client:
        found = client.alerts.rule(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(
    epilog="Example: shoal alerts rules add slow-digits --metric p95_latency --model digits --threshold 40 --for 120"
)
def add(
    name: Name,
    file: Annotated[
        Path | None, typer.Option(dir_okay=False, exists=True, help="JSON of the whole rule, in place of options.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="When it is too bad: accuracy, precision, recall, f1, auc, mae, rmse, estimated_accuracy, "
            "p95_latency or error_rate."
        ),
    ] = None,
    drift: Annotated[bool, typer.Option("--drift", help="When inputs have drifted.")] = False,
    drift_rule: Annotated[
        str | None, typer.Option(help="With --drift: by which rule, plain, controlled or either; controlled without.")
    ] = None,
    offline_share: Annotated[float | None, typer.Option(help="When this share of devices is offline, 0 to 1.")] = None,
    offline_count: Annotated[int | None, typer.Option(help="When so many devices are offline.")] = None,
    rollout: Annotated[bool, typer.Option("--rollout", help="When a rollout is paused or has failed.")] = False,
    no_data: Annotated[float | None, typer.Option(help="When no window has come for so many s.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model only.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Of the metric; else the model's own.")] = None,
    window: Annotated[float | None, typer.Option(help="Over so many s, of the metric.")] = None,
    min_samples: Annotated[int | None, typer.Option(help="Of fewer samples nothing is concluded.")] = None,
    group_by: Annotated[
        list[str] | None, typer.Option(help="Told apart by: model, version, group, feature; several times for several.")
    ] = None,
    lasts: Annotated[float, typer.Option("--for", help="For so many s, until it fires.")] = 300.0,
    resolve: Annotated[float, typer.Option(help="Gone for so many s, until it is over.")] = 300.0,
    severity: Annotated[str, typer.Option(help="info, warning or critical.")] = "warning",
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of each of its alerts.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Who is told; every channel without.")] = None,
    summary: Annotated[str, typer.Option(help="One line for people.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Set it, and look for nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set a rule, in place of an earlier one of its name or of one of the hub's own."""
    when = {
        "metric": {"kind": "metric", "metric": metric} if metric else None,
        "drift": _drift(drift_rule) if drift else None,
        "offline": _offline(offline_share, offline_count),
        "rollout": {"kind": "rollout"} if rollout else None,
        "no_data": {"kind": "no_data", "after_s": no_data} if no_data else None,
    }
    more = {
        "model": model,
        "threshold": threshold,
        "window_s": window,
        "min_samples": min_samples,
        "group_by": group_by or None,
    }
    if drift_rule is not None and not drift and file is None:
        raise ClientError("--drift-rule says by which rule inputs have drifted", "give --drift as well")
    body = _read(file) if file is not None else {"when": _one_of(when) | _given(more)}
    if file is None:
        body |= {"for_s": lasts, "resolve_s": resolve, "severity": severity, "summary": summary, "is_enabled": not off}
        body |= {"labels": dict(_pair(one) for one in label or ()), "channels": channel or []}
    elif any(when.values()) or drift_rule is not None or _given(more):
        raise ClientError("a file and options say what to look for", "give the one or the others")
    with connect() as client:
        made = client.alerts.set_rule(name, body)
    show(made, as_json=as_json, draw=lambda: _draw(made))


@app.command(epilog="Example: shoal alerts rules remove slow-digits")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a rule; its alerts end. One of the hub's own is as it was at first."""
    with connect() as client:
        was = client.alerts.remove_rule(name)
    told = "is as it was at first" if was.is_built_in else "is forgotten"
    show(was, as_json=as_json, draw=lambda: console.print(f"the rule {was.name} {told}"))


def _drift(rule: str | None) -> dict[str, Any]:
    if rule is None:
        return {"kind": "drift"}
    if rule not in {"plain", "controlled", "either"}:
        raise ClientError(f"there is no drift rule {rule!r}", "give plain, controlled or either")
    return {"kind": "drift", "rule": None if rule == "either" else rule}


def _offline(share: float | None, count: int | None) -> dict[str, Any] | None:
    if share is None and count is None:
        return None
    return {"kind": "devices_offline", "min_share": share, "min_count": count}


def _one_of(when: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    given = [one for one in when.values() if one is not None]
    if len(given) != 1:
        raise ClientError(
            f"{len(given)} conditions are given, and a rule has one",
            "give --metric, --drift, --offline-share, --rollout or --no-data; or --file",
        )
    return given[0]


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ClientError(f"{file}: {error}", "give JSON as `shoal alerts rules show NAME --json` has it") from error
    body = found.get("rule", found) if isinstance(found, dict) else found
    if not isinstance(body, dict):
        raise ClientError(f"{file} holds no rule", "give JSON as `shoal alerts rules show NAME --json` has it")
    return body


def _pair(text: str) -> tuple[str, str]:
    name, is_there, value = text.partition("=")
    if not is_there:
        raise ClientError(f"{text!r} is no label", "give NAME=VALUE, like team=edge")
    return name, value


def _condition(one: AlertRule) -> str:
    when = {name: value for name, value in one.rule["when"].items() if value not in (None, [])}
    kind = when.pop("kind")
    told = ", ".join(f"{name} {_text(value)}" for name, value in when.items())
    return f"{kind}: {told}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _draw(one: AlertRule) -> None:
    facts(
        [
            ("rule", one.name),
            ("when", _condition(one)),
            ("for", f"{one.rule['for_s']:g} s"),
            ("over after", f"{one.rule['resolve_s']:g} s"),
            ("severity", one.rule["severity"]),
            ("labels", one.rule["labels"]),
            ("channels", one.rule["channels"] or "all"),
            ("enabled", "yes" if one.rule["is_enabled"] else "no"),
            ("summary", one.rule["summary"]),
            ("set by", one.set_by or "the hub"),
        ]
    )
