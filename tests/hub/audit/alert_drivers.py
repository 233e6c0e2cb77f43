"""How the routes of alerts are driven, see `drivers`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.hub.audit.site import Site

from shoal_hub.alerts.tables import AlertRow
from shoal_hub.database import utc_now

_RULE = {"when": {"kind": "rollout"}}
_CHANNEL = {"target": {"kind": "mqtt"}}


def _asked(method: str, path: str, body: dict[str, Any] | None = None) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        if method == "DELETE" or path.endswith("/test"):
            site.send("PUT", "/alerts/rules/stuck", json=_RULE)
            site.send("PUT", "/alerts/channels/ops", json=_CHANNEL)
        return lambda: site.send(method, path, **({"json": body} if body is not None else {}))

    return prepare


def _silence(site: Site) -> Callable[[], Any]:
    ends_at = (utc_now() + timedelta(hours=1)).isoformat()
    body = {"matchers": [{"label": "model", "value": "digits"}], "ends_at": ends_at, "reason": "works"}
    return lambda: site.send("POST", "/alerts/silences", json=body)


def _end_silence(site: Site) -> Callable[[], Any]:
    silence = _silence(site)()["id"]
    return lambda: site.send("DELETE", f"/alerts/silences/{silence}")


def _acknowledge(site: Site) -> Callable[[], Any]:
    with site.hub.database.transaction() as session:
        fields = {"rule": "stuck", "key": "{}", "state": "firing", "severity": "info", "labels": {}, "message": ""}
        session.add(AlertRow(id="al-abcdefgh", pending_at=utc_now(), **fields))
    return lambda: site.send("POST", "/alerts/al-abcdefgh/acknowledgement", json={"note": "mine"})


ALERTS: dict[tuple[str, str], tuple[Callable[[Site], Callable[[], Any]], str, str]] = {
    ("PUT", "/api/v1/alerts/rules/{name}"): (
        _asked("PUT", "/alerts/rules/stuck", _RULE),
        "alerts.set_rule",
        "alerts/rules/stuck",
    ),
    ("DELETE", "/api/v1/alerts/rules/{name}"): (
        _asked("DELETE", "/alerts/rules/stuck"),
        "alerts.delete_rule",
        "alerts/rules/stuck",
    ),
    ("PUT", "/api/v1/alerts/channels/{name}"): (
        _asked("PUT", "/alerts/channels/ops", _CHANNEL),
        "alerts.set_channel",
        "alerts/channels/ops",
    ),
    ("DELETE", "/api/v1/alerts/channels/{name}"): (
        _asked("DELETE", "/alerts/channels/ops"),
        "alerts.delete_channel",
        "alerts/channels/ops",
    ),
    ("POST", "/api/v1/alerts/channels/{name}/test"): (
        _asked("POST", "/alerts/channels/ops/test"),
        "alerts.test_channel",
        "alerts/channels/ops",
    ),
    ("PUT", "/api/v1/alerts/thresholds/{model}"): (
        _asked("PUT", "/alerts/thresholds/digits", {"thresholds": {"accuracy": 0.9}}),
        "alerts.put_thresholds",
        "alerts/thresholds/digits",
    ),
    ("POST", "/api/v1/alerts/silences"): (_silence, "alerts.create_silence", "alert_silences/as-"),
    ("DELETE", "/api/v1/alerts/silences/{silence_id}"): (_end_silence, "alerts.delete_silence", "alerts/silences/as-"),
    ("POST", "/api/v1/alerts/{alert_id}/acknowledgement"): (
        _acknowledge,
        "alerts.acknowledge_alert",
        "alerts/al-abcdefgh",
    ),
}
