"""The client's alerts, against a real hub over HTTPS."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.hub.served import ServedHub, served_hub
from tests.simulators.rows import add_version

from shoal_client import ApiError, ShoalClient
from shoal_hub.alerts.tables import AlertRow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def client(served: ServedHub) -> Iterator[ShoalClient]:
    with ShoalClient(served.url, served.token, served.ca_path) as opened:
        yield opened


def test_alerts_rules_silences_thresholds_and_channels_are_methods(client: ShoalClient, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        add_version(session, served.hub.artifacts, 1, {})
        labels = {"model": "digits", "rule": "drift", "severity": "warning"}
        fields = {"rule": "drift", "key": "{}", "state": "firing", "severity": "warning", "message": "m"}
        session.add(AlertRow(id="al-1", labels=labels, pending_at=datetime.now(UTC), **fields))
    [alert] = client.alerts.list(states=["firing"], rule="drift", severity="warning")
    assert client.alerts.list(states=["resolved"]) == []
    shown = client.alerts.acknowledge(alert.id, "I look")
    assert shown == client.alerts.show(alert.id)
    assert shown.acknowledgement is not None
    assert (shown.acknowledgement.note, shown.notices) == ("I look", [])

    made = client.alerts.set_rule("slow", {"when": {"kind": "metric", "metric": "p95_latency"}})
    assert client.alerts.rule("slow") == made
    assert made in client.alerts.rules()
    assert client.alerts.remove_rule("slow") == made

    until = datetime.now(UTC) + timedelta(hours=1)
    quiet = client.alerts.silence([{"label": "model", "value": "digits"}], until, "work")
    assert client.alerts.silences() == [quiet]
    assert client.alerts.show(alert.id).silenced_by == [quiet.id]
    assert client.alerts.unsilence(quiet.id).ended_by == "ada"
    assert [one.id for one in client.alerts.silences(over=True)] == [quiet.id]

    assert client.alerts.thresholds("digits").thresholds["accuracy"] == 0.85
    assert client.alerts.set_thresholds("digits", {"accuracy": 0.9}).thresholds["accuracy"] == 0.9

    channel = client.alerts.set_channel("ops", {"kind": "mqtt"}, least_severity="warning")
    assert client.alerts.channels() == [channel]
    delivery = client.alerts.test_channel("ops", wait_s=0.1)
    assert delivery.state == "queued", "this hub has no controller"
    assert client.alerts.deliveries(channel="ops", state="queued") == [delivery]
    assert client.alerts.remove_channel("ops") == channel
    with pytest.raises(ApiError, match="no alert channel"):
        client.alerts.test_channel("ops")
