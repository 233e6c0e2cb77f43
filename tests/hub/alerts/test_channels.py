"""Channels: who may set them, and that nothing secret of them is ever shown, logged or kept in the clear."""

import json
import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import text
from tests.hub.alerts.conftest import SECRET, URL, Alerts

from shoal_hub.alerts.channels import find_channel, open_target
from shoal_hub.alerts.targets import EmailTarget, SlackTarget, WebhookTarget, from_bytes
from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.registry.encrypt import reseal_version_keys
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.version_keys import VersionKeys

PATH = "T0000-slack-path"
PASSWORD = "the-password-of-mail"
TARGETS: dict[str, dict[str, Any]] = {
    "hook": {"kind": "webhook", "url": "https://hooks.example/in/of-the-path", "secret": SECRET},
    "chat": {"kind": "slack", "url": f"https://hooks.slack.example/{PATH}"},
    "mail": {
        "kind": "email",
        "host": "mail.example",
        "sender": "shoal@plant.example",
        "to": ["ada@plant.example"],
        "username": "shoal",
        "password": PASSWORD,
    },
    "mqtt": {"kind": "mqtt"},
}
SECRETS = (SECRET, PATH, PASSWORD, "of-the-path")


def as_role(hub: HubContext, role: Role) -> TestClient:
    with hub.database.transaction() as session:
        token = create_operator_token(session, f"user-{role}", role)
    return TestClient(create_app(hub), headers={"authorization": f"Bearer {token}"})


def test_what_is_secret_is_in_no_answer_no_log_no_audit_and_no_row(
    hub: HubContext, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = []
    for name, target in TARGETS.items():
        answers += [client.put(f"{URL}/channels/{name}", json={"target": target})]
        broken = target | {"secret": SECRET, "url": f"ftp://{PATH}", "password": PASSWORD, "port": "x"}
        answers += [client.put(f"{URL}/channels/{name}", json={"target": broken})]
    answers += [
        client.post(f"{URL}/channels/hook/test"),
        client.get(f"{URL}/channels"),
        client.get(f"{URL}/deliveries"),
    ]
    answers += [client.delete(f"{URL}/channels/chat"), client.get("/api/v1/audit"), client.get("/api/v1/events")]
    assert [one.status_code for one in answers[:8]] == [200, 422] * 4
    shown = "".join(one.text for one in answers) + caplog.text
    assert [secret for secret in SECRETS if secret in shown] == []
    addresses = {one["name"]: one["address"] for one in client.get(f"{URL}/channels").json()}
    assert addresses == {
        "hook": "hooks.example",
        "mail": "ada@plant.example by mail.example:587",
        "mqtt": "shoal/1/hub/alerts/+",
    }
    with hub.database.session() as session:
        rows = session.connection().execute(text("SELECT * FROM alert_channels")).all()
    kept = json.dumps([[str(value) for value in row] for row in rows])
    assert [secret for secret in SECRETS if secret in kept] == []


def test_what_was_sealed_is_opened_to_be_used_under_new_keys_as_well(hub: HubContext, client: TestClient) -> None:
    for name, target in TARGETS.items():
        client.put(f"{URL}/channels/{name}", json={"target": target}).raise_for_status()
    with hub.database.session() as session:
        before = find_channel(session, "hook").sealed
    for _ in range(3):
        reseal_version_keys(hub.database, VersionKeys.open(hub.settings.data / "trust"))
    with hub.database.session() as session:
        opened = [open_target(hub.version_keys, find_channel(session, name)) for name in TARGETS]
        row = find_channel(session, "hook")
        assert row.sealed != before
        row.name = "another"
        with pytest.raises(TrustError):  # what is sealed for one channel is no other's
            open_target(hub.version_keys, row)
    hook, chat, mail, _ = opened
    assert isinstance(hook, WebhookTarget)
    assert hook.secret.get_secret_value() == SECRET
    assert isinstance(chat, SlackTarget)
    assert chat.url.get_secret_value().endswith(PATH)
    assert isinstance(mail, EmailTarget)
    assert mail.password.get_secret_value() == PASSWORD
    assert (mail.port, mail.security) == (587, "starttls")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/in",
        "https://user:pass@hooks.example/in",
        "https://hooks.example:0/in",
        "https://hooks.example:99999/in",
        "https://hooks.example/in\r\nx-evil: 1",
        "https://hooks.example/in here",
        "https://",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_is_none_is_refused(sqlite_client: TestClient, url: str) -> None:
    target = {"kind": "slack", "url": url}
    assert sqlite_client.put(f"{URL}/channels/x", json={"target": target}).status_code == 422


def test_what_can_not_be_read_of_a_target_is_told_without_what_is_in_it() -> None:
    with pytest.raises(ValidationError) as caught:
        from_bytes(json.dumps({"kind": "webhook", "url": f"ftp://{PATH}", "secret": "short-one"}).encode())
    assert [one for one in (PATH, "short-one") if one in str(caught.value)] == []


def test_a_channel_is_changed_without_saying_its_secrets_again(sqlite_alerts: Alerts) -> None:
    alerts = sqlite_alerts
    assert alerts.client.put(f"{URL}/channels/ops", json={}).status_code == 404
    alerts.channel()
    body = {"least_severity": "critical", "is_enabled": False}
    changed = alerts.client.put(f"{URL}/channels/ops", json=body).json()
    assert (changed["address"], changed["least_severity"], changed["is_enabled"]) == (
        "hooks.example",
        "critical",
        False,
    )
    assert alerts.client.post(f"{URL}/channels/ops/test").status_code == 409
    alerts.rule("r", {"kind": "rollout"}, channels=["ops"])
    assert alerts.client.delete(f"{URL}/channels/ops").status_code == 409
    alerts.client.delete(f"{URL}/rules/r").raise_for_status()
    assert alerts.client.delete(f"{URL}/channels/ops").status_code == 200


def test_channels_are_an_admin_s_rules_an_operator_s_and_looking_is_everybody_s(sqlite_hub: HubContext) -> None:
    target = {"target": TARGETS["mqtt"]}
    rule = {"when": {"kind": "rollout"}}
    with as_role(sqlite_hub, Role.VIEWER) as viewer:
        for path in ("", "/rules", "/silences", "/channels", "/deliveries"):
            assert viewer.get(URL + path).status_code == 200
        assert viewer.put(f"{URL}/rules/r", json=rule).status_code == 403
        assert viewer.post(f"{URL}/al-1/acknowledgement", json={}).status_code == 403
    with as_role(sqlite_hub, Role.OPERATOR) as operator:
        assert operator.put(f"{URL}/rules/r", json=rule).status_code == 200
        assert operator.put(f"{URL}/channels/c", json=target).status_code == 403
        assert operator.post(f"{URL}/channels/c/test").status_code == 403
    with as_role(sqlite_hub, Role.ADMIN) as admin:
        assert admin.put(f"{URL}/channels/c", json=target).status_code == 200


def test_what_people_set_is_in_the_audit_trail(alerts: Alerts) -> None:
    alerts.channel()
    alerts.rule("r", {"kind": "rollout"})
    actions = [one["action"] for one in alerts.client.get("/api/v1/audit").json()]
    assert actions[-2:] == ["alerts.set_channel", "alerts.set_rule"]


def test_a_rule_of_the_hub_s_own_gives_way_and_comes_back(sqlite_alerts: Alerts) -> None:
    alerts = sqlite_alerts
    before = alerts.client.get(f"{URL}/rules/accuracy-low").json()
    assert (before["is_built_in"], before["set_by"]) == (True, "")
    alerts.rule("accuracy-low", {"kind": "metric", "metric": "accuracy", "threshold": 0.5})
    changed = alerts.client.get(f"{URL}/rules/accuracy-low").json()
    assert (changed["rule"]["when"]["threshold"], changed["set_by"]) == (0.5, "ada")
    alerts.client.delete(f"{URL}/rules/accuracy-low").raise_for_status()
    assert alerts.client.get(f"{URL}/rules/accuracy-low").json() == before
    names = [one["name"] for one in alerts.client.get(f"{URL}/rules").json()]
    assert names == sorted(names)
    assert {"drift", "latency-high", "errors-high"} <= set(names)


def test_a_silence_has_an_end_that_is_to_come(sqlite_client: TestClient) -> None:
    body = {"matchers": [{"label": "model", "value": "digits"}], "reason": "x"}
    for ends_at, status in (("2020-01-01T00:00:00Z", 422), ("2999-01-01T00:00:00Z", 422), ("2026-01-01T00:00:00", 422)):
        assert sqlite_client.post(f"{URL}/silences", json=body | {"ends_at": ends_at}).status_code == status
    assert sqlite_client.post(f"{URL}/silences", json=body | {"matchers": []}).status_code == 422
    assert sqlite_client.delete(f"{URL}/silences/as-x").status_code == 404
