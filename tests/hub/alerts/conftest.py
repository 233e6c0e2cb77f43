"""A hub with devices whose rules are looked at by a clock that the test has in hand."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert
from sqlmodel import col, select
from tests.simulators.rows import add_device, add_version

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.alerts.deliver import Deliverer, Retry, Send
from shoal_hub.alerts.evaluate import AlertEvaluator
from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.tables import AlertChannel, AlertDelivery, AlertNotice, AlertRow
from shoal_hub.alerts.telling import Timing
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.monitoring.tables import WindowRow

URL = "/api/v1/alerts"
TIMING = Timing(group_wait_s=0, group_interval_s=0, repeat_interval_s=3600)
RETRY = Retry(first_s=5, longest_s=600, give_up_after_s=3600, attempt_s=10)
SECRET = "a-secret-of-the-webhook"
FAST = (*[0] * 4, 100, *[0] * 9)
SLOW = (*[0] * 11, 100, 0, 0)


class Alerts:
    """What the tests of alerts act on."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client
        self.now, self._passed_s, self.cpu_s = utc_now(), 0.0, 0.0
        with hub.database.transaction() as session:
            add_version(session, hub.artifacts, 1, {})
            self.ids = [add_device(session, name=f"d{n}", group="north" if n else "south").id for n in range(3)]
        self.evaluator = self.new_evaluator()

    def new_evaluator(self, timing: Timing = TIMING) -> AlertEvaluator:
        """Return what a controller that has just started looks with."""
        return AlertEvaluator(self.hub.database, timing, 10.0, lambda: self._passed_s, lambda: self.cpu_s)

    def use(self, timing: Timing) -> None:
        self.evaluator = self.new_evaluator(timing)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self._passed_s += seconds

    def look(self, after_s: float = 10.0, times: int = 1) -> int:
        """Have time pass and rules looked at; return how many alerts have changed."""
        changed = 0
        for _ in range(times):
            self.pass_time(after_s)
            changed += self.evaluator.step(self.now)
        return changed

    def rule(self, name: str, when: dict[str, Any], **more: Any) -> None:
        body = {"when": when, "for_s": 0, "resolve_s": 0} | more
        answer = self.client.put(f"{URL}/rules/{name}", json=body)
        assert answer.status_code == 200, answer.text

    def channel(self, name: str = "ops", **more: Any) -> None:
        target = {"kind": "webhook", "url": "https://hooks.example/in", "secret": SECRET}
        answer = self.client.put(f"{URL}/channels/{name}", json={"target": target} | more)
        assert answer.status_code == 200, answer.text

    def windows(self, device: int = 0, *, model: str = "digits", at: datetime | None = None, **counts: Any) -> None:
        """Have a device's window come in now: 100 good requests unless it is said otherwise."""
        at = at or self.now
        row: dict[str, Any] = {"device_id": self.ids[device], "model": model, "version": 1, "received_at": at}
        row |= {"started_at": at, "ended_at": at, "requests": 100, "samples": 100, "errors": 0, "labelled": 100}
        row |= {"correct": 95, "features": b"", "missing": b"", "predictions": [], "confidence": []}
        row |= {"latency": FAST} | counts
        assert len(row["latency"]) == len(LATENCY_EDGES_MS) + 1
        with self.hub.database.transaction() as session:
            session.connection().execute(insert(WindowRow), [row])

    def listed(self, **which: Any) -> Any:
        answer = self.client.get(URL, params=which)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def states(self, rule: str) -> dict[str, str]:
        """Return the state of each open alert of a rule, by its labels but those that all have."""
        return {
            ",".join(one["labels"][name] for name in sorted(one["labels"].keys() - {"rule", "severity"})): one["state"]
            for one in self.listed(rule=rule)
        }

    def told(self) -> list[tuple[str, str, int]]:
        """Return what channels are to be told, in order: channel, transition, repetition."""
        with self.hub.database.session() as session:
            rows = session.exec(select(AlertNotice).order_by(col(AlertNotice.id))).all()
        return [(row.channel, row.transition, row.number) for row in rows]

    def deliveries(self) -> list[AlertDelivery]:
        with self.hub.database.session() as session:
            return list(session.exec(select(AlertDelivery).order_by(col(AlertDelivery.created_at))).all())

    def open_alert(self) -> AlertRow:
        with self.hub.database.session() as session:
            return session.exec(select(AlertRow).where(AlertRow.state != "resolved")).one()

    def deliverer(self, send: Send, retry: Retry = RETRY) -> Deliverer:
        return Deliverer(self.hub.database, send, retry, lambda: self.now, lambda: 1.0)


def keep_in(sent: list[tuple[str, str]]) -> Callable[[AlertChannel, str, AlertMessage], str]:
    """Return a way that takes everything, and keeps the channel and the key of each."""

    def send(channel: AlertChannel, key: str, _message: AlertMessage) -> str:
        sent.append((channel.name, key))
        return ""

    return send


@pytest.fixture
def alerts(hub: HubContext, client: TestClient) -> Alerts:
    return Alerts(hub, client)


@pytest.fixture
def sqlite_alerts(sqlite_hub: HubContext, sqlite_client: TestClient) -> Alerts:
    """On one engine, for tests that are not about the store."""
    return Alerts(sqlite_hub, sqlite_client)
