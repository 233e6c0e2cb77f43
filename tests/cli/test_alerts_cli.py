"""`shoal alerts` against a real hub."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.cli.conftest import Shoal
from tests.hub.served import ServedHub
from tests.simulators.rows import add_version

from shoal_hub.alerts.tables import AlertRow


def test_an_alert_is_listed_shown_acknowledged_and_silenced_by_commands(shoal: Shoal, served: ServedHub) -> None:
    assert "all is as it should be" in shoal("alerts", "list").out
    with served.hub.database.transaction() as session:
        labels = {"model": "digits", "rule": "drift", "severity": "warning"}
        fields = {"rule": "drift", "key": "{}", "state": "firing", "severity": "warning", "message": "led by x"}
        session.add(AlertRow(id="al-1", labels=labels, pending_at=datetime.now(UTC), **fields))
    assert "led by x" in shoal("alerts", "list", "--state", "firing").out
    assert "looked after by you" in shoal("alerts", "ack", "al-1", "--note", "I look").out
    assert "I look" in shoal("alerts", "show", "al-1").out
    made = json.loads(
        shoal("alerts", "silence", "model=digits", "group!=north", "--for", "2h", "--reason", "work", "--json").out
    )
    assert made["matchers"][1] == {"label": "group", "value": "north", "op": "!="}
    assert "group!=north" in shoal("alerts", "silences").out
    assert json.loads(shoal("alerts", "list", "--json").out)[0]["silenced_by"] == [made["id"]]
    assert "is over" in shoal("alerts", "unsilence", made["id"]).out
    assert made["id"] in shoal("alerts", "silences", "--over").out


def test_rules_are_set_by_options_and_by_files(shoal: Shoal, tmp_path: Path) -> None:
    added = shoal(
        *("alerts", "rules", "add", "slow", "--metric", "p95_latency", "--model", "digits", "--threshold", "40"),
        *("--for", "120", "--label", "team=edge", "--group-by", "group"),
    )
    assert added.status == 0, added.err
    shown = json.loads(shoal("alerts", "rules", "show", "slow", "--json").out)
    assert shown["rule"]["when"]["threshold"] == 40
    assert (shown["rule"]["for_s"], shown["rule"]["labels"]) == (120, {"team": "edge"})
    path = tmp_path / "rule.json"
    path.write_text(json.dumps(shown))
    assert shoal("alerts", "rules", "add", "copy", "--file", str(path)).status == 0
    listed = shoal("alerts", "rules", "list").out
    assert all(name in listed for name in ("slow", "copy", "errors-high", "the hub"))
    for options in (("--drift",), ("--rollout",), ("--no-data", "600"), ("--offline-share", "0.5")):
        assert shoal("alerts", "rules", "add", "one", *options).status == 0
    for given, kept in (("plain", "plain"), ("controlled", "controlled"), ("either", None)):
        added = shoal("alerts", "rules", "add", "moved", "--drift", "--drift-rule", given, "--json")
        assert json.loads(added.out)["rule"]["when"]["rule"] == kept
    assert (
        "there is no drift rule 'loud'" in shoal("alerts", "rules", "add", "x", "--drift", "--drift-rule", "loud").err
    )
    assert "give --drift as well" in shoal("alerts", "rules", "add", "x", "--rollout", "--drift-rule", "plain").err
    assert "0 conditions" in shoal("alerts", "rules", "add", "none").err
    assert "the one or the others" in shoal("alerts", "rules", "add", "x", "--drift", "--file", str(path)).err
    assert "is forgotten" in shoal("alerts", "rules", "remove", "slow").out
    assert "one of the hub's own" in shoal("alerts", "rules", "remove", "drift").err


def test_channels_take_their_secrets_from_standard_input(shoal: Shoal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nobody is told" in shoal("alerts", "channels", "list").out
    monkeypatch.setattr("sys.stdin", io.StringIO("https://hooks.example/in/secret\nsixteen-or-more-chars\n"))
    added = shoal("alerts", "channels", "add", "ops", "--kind", "webhook")
    assert "hooks.example" in added.out, added.err
    assert "secret" not in added.out
    monkeypatch.setattr("sys.stdin", io.StringIO("the-password\n"))
    mail = ("--host", "mail.example", "--sender", "s@plant.example", "--to", "a@plant.example", "--username", "s")
    assert shoal("alerts", "channels", "add", "mail", "--kind", "email", *mail).status == 0
    assert "critical" in shoal("alerts", "channels", "add", "ops", "--least-severity", "critical").out
    assert shoal("alerts", "channels", "test", "ops", "--wait", "0").status == 1, "this hub has no controller"
    assert "queued" in shoal("alerts", "deliveries", "--channel", "ops").out
    assert "webhook, slack, email or mqtt" in shoal("alerts", "channels", "add", "x", "--kind", "pigeon").err
    assert "is forgotten" in shoal("alerts", "channels", "remove", "ops").out
    assert "is forgotten" in shoal("alerts", "channels", "remove", "mail").out


def test_thresholds_are_set_and_taken_back(shoal: Shoal, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        add_version(session, served.hub.artifacts, 1, {})
    thresholds = ("alerts", "thresholds", "digits")
    assert "0.9" in shoal(*thresholds, "--set", "accuracy=0.9").out
    assert json.loads(shoal(*thresholds, "--json").out)["thresholds"]["accuracy"] == 0.9
    assert "0.85" in shoal(*thresholds, "--reset", "accuracy").out


def test_what_can_not_be_read_is_an_error_with_a_remedy(shoal: Shoal) -> None:
    assert "like 90m" in shoal("alerts", "silence", "a=b", "--for", "soon", "--reason", "x").err
    assert "LABEL=VALUE" in shoal("alerts", "silence", "everything", "--for", "1h", "--reason", "x").err
    assert "METRIC=VALUE" in shoal("alerts", "thresholds", "digits", "--set", "accuracy").err
