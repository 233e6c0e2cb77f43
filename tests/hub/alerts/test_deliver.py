"""The outbox: at least once, the same key each time, one after the other, and never by two controllers."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select
from tests.hub.alerts.conftest import RETRY, URL, Alerts, keep_in

from shoal_hub.alerts.deliver import MOST_AT_ONCE, MOST_OF_A_CHANNEL, Deliverer, Retry
from shoal_hub.alerts.errors import DeliveryError
from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.notify import notify
from shoal_hub.alerts.tables import AlertChannel, AlertDelivery
from shoal_hub.controller.election import Election, FencedError
from shoal_hub.database import Database
from shoal_hub.errors import NotFoundError
from shoal_hub.events.tables import EventRow

WAIT_S = 30


@pytest.fixture
def second(alerts: Alerts) -> Iterator[Database]:
    """Another process's view of the same database."""
    opened = Database(alerts.hub.database.engine.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


def tell(alerts: Alerts, key: str = "k", subject: str = "s", **more: object) -> list[str]:
    with alerts.hub.database.transaction() as session:
        return notify(session, key=key, subject=subject, title="Hello", now=alerts.now, **more)  # type: ignore[arg-type]


def only(alerts: Alerts) -> AlertDelivery:
    [row] = alerts.deliveries()
    return row


def failing(_channel: AlertChannel, _key: str, _message: AlertMessage) -> str:
    raise DeliveryError("the receiver has answered with 503")


class Hanging:
    """A way that takes what it gets, and comes back only when it is told to."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()

    def __call__(self, _channel: AlertChannel, key: str, _message: AlertMessage) -> str:
        self.keys.append(key)
        self.begun.release()
        self.go_on.wait(WAIT_S)
        return ""


def test_what_is_told_is_told_each_channel_once_by_its_key(alerts: Alerts) -> None:
    alerts.channel("a")
    alerts.channel("b")
    alerts.channel("pager", least_severity="critical")
    ids = tell(alerts)
    assert tell(alerts) == ids, "the same again is nothing more"
    assert len(tell(alerts, key="other")) == 2
    assert len(tell(alerts, key="loud", severity="critical", channels=["pager", "pager"])) == 1
    sent: list[tuple[str, str]] = []
    deliverer = alerts.deliverer(keep_in(sent))
    for _ in range(6):
        deliverer.step(alerts.now)
        assert deliverer.settle(WAIT_S)
    assert sorted(channel for channel, _ in sent) == ["a", "a", "b", "b", "pager"]
    assert len({key for _, key in sent}) == 5
    assert {row.state for row in alerts.deliveries()} == {"sent"}
    with pytest.raises(NotFoundError):
        tell(alerts, key="x", channels=["nobody"])


def test_what_is_told_in_a_transaction_that_is_not_kept_is_not_told(alerts: Alerts) -> None:
    alerts.channel()
    with alerts.hub.database.rehearsal() as session:
        assert len(notify(session, key="k", subject="s", title="Hello")) == 1
    assert alerts.deliveries() == []


def test_a_failure_is_tried_again_later_and_later_until_it_is_given_up_with_the_reason(alerts: Alerts) -> None:
    alerts.channel()
    tell(alerts)
    deliverer = alerts.deliverer(failing, Retry(5, 20, 50, 10))
    waited = []
    for _ in range(10):
        if deliverer.step(alerts.now) == 0:
            break
        assert deliverer.settle(WAIT_S)
        row = only(alerts)
        if row.state == "queued":
            waited.append((row.next_at - alerts.now).total_seconds())
            assert deliverer.step(row.next_at - timedelta(seconds=1)) == 0, "not before its time"
            alerts.pass_time(waited[-1])
    assert waited == [5, 10, 20]
    row = only(alerts)
    assert (row.state, row.attempts) == ("failed", 4)
    assert row.problem == "given up after 4 attempts: the receiver has answered with 503"
    with alerts.hub.database.session() as session:
        [event] = session.exec(select(EventRow).where(EventRow.kind == "alert_not_delivered")).all()
    assert "503" in event.message
    assert alerts.client.get(f"{URL}/deliveries", params={"state": "failed"}).json()[0]["problem"] == row.problem


def test_time_in_which_the_hub_was_off_gives_nothing_up(alerts: Alerts) -> None:
    alerts.channel()
    tell(alerts)
    deliverer = alerts.deliverer(failing, Retry(5, 20, 50, 10))
    deliverer.step(alerts.now)
    assert deliverer.settle(WAIT_S)
    alerts.pass_time(30 * 86_400)
    sent: list[tuple[str, str]] = []
    deliverer = alerts.deliverer(keep_in(sent))
    assert deliverer.step(alerts.now) == 1
    assert deliverer.settle(WAIT_S)
    assert (only(alerts).state, len(sent)) == ("sent", 1)


def test_waits_are_drawn_between_half_and_all_of_what_doubles_up_to_its_bound() -> None:
    retry = Retry(5, 600, 86_400, 10)
    assert [retry.delay_s(attempt, 1.0) for attempt in (1, 2, 3, 8, 5000)] == [5, 10, 20, 600, 600]
    assert retry.delay_s(3, 0.0) == 10


def test_an_attempt_whose_process_was_killed_is_made_again_with_the_same_key(alerts: Alerts, second: Database) -> None:
    alerts.channel()
    tell(alerts)
    way = Hanging()
    killed = alerts.deliverer(way)
    assert killed.step(alerts.now) == 1
    assert way.begun.acquire(timeout=WAIT_S)
    assert only(alerts).begun_at == alerts.now
    sent: list[tuple[str, str]] = []
    fresh = Deliverer(second, keep_in(sent), RETRY, lambda: alerts.now)
    assert fresh.step(alerts.now + timedelta(seconds=RETRY.attempt_s)) == 0, "it may still be at work"
    alerts.pass_time(3 * RETRY.attempt_s)
    assert fresh.step(alerts.now) == 1
    assert fresh.settle(WAIT_S)
    row = only(alerts)
    assert (row.state, row.attempts) == ("sent", 2)
    assert [key for _, key in sent] == way.keys == [row.key]
    way.go_on.set()
    assert killed.settle(WAIT_S)
    assert only(alerts) == row, "what the first one says too late changes nothing"


def test_a_late_failure_of_a_former_attempt_does_not_undo_the_next_one(alerts: Alerts, second: Database) -> None:
    alerts.channel()
    tell(alerts)
    gate = threading.Event()

    def fails_late(*_: object) -> str:
        gate.wait(WAIT_S)
        raise DeliveryError("too late")

    first = alerts.deliverer(fails_late)
    assert first.step(alerts.now) == 1
    way = Hanging()
    other = Deliverer(second, way, RETRY, lambda: alerts.now)
    alerts.pass_time(100)
    assert other.step(alerts.now) == 1
    assert way.begun.acquire(timeout=WAIT_S)
    gate.set()
    assert first.settle(WAIT_S)
    assert only(alerts).begun_at == alerts.now, "the second attempt is still at work"
    way.go_on.set()
    assert other.settle(WAIT_S)
    assert only(alerts).state == "sent"


def test_of_two_that_begin_the_same_one_sends(alerts: Alerts, second: Database) -> None:
    alerts.channel()
    tell(alerts)
    sent: list[tuple[str, str]] = []
    one, other = alerts.deliverer(keep_in(sent)), Deliverer(second, keep_in(sent), RETRY, lambda: alerts.now)
    [due] = one._due(alerts.now)
    [same] = other._due(alerts.now)
    claims = [one._claim(due, alerts.now), other._claim(same, alerts.now)]
    assert [claim is None for claim in claims] == [False, True]


def test_a_controller_that_was_followed_begins_nothing(alerts: Alerts, second: Database, tmp_path: Path) -> None:
    alerts.channel()
    tell(alerts)
    database = alerts.hub.database
    former = Election(database, tmp_path / "lock")
    assert former.stand()
    if former._connection is not None:
        former._connection.invalidate()  # as when the server drops the connection; it does not know yet
    latter = Election(second, tmp_path / "another-lock")
    assert latter.stand()
    sent: list[tuple[str, str]] = []
    with pytest.raises(FencedError):
        alerts.deliverer(keep_in(sent)).step(alerts.now)
    follower = Deliverer(second, keep_in(sent), RETRY, lambda: alerts.now)
    assert follower.step(alerts.now) == 1
    assert follower.settle(WAIT_S)
    assert len(sent) == 1
    for one in (former, latter):
        one.resign()


def test_a_receiver_that_hangs_holds_up_no_other_and_messages_of_one_subject_go_in_order(alerts: Alerts) -> None:
    alerts.channel("slow")
    alerts.channel("good")
    for number in range(4):
        tell(alerts, key=f"slow-{number}", subject=f"s{number % 3}", channels=["slow"])
        alerts.pass_time(0.001)
    tell(alerts, key="good", channels=["good"])
    hanging, good = Hanging(), list[tuple[str, str]]()

    def send(channel: AlertChannel, key: str, message: AlertMessage) -> str:
        return (hanging if channel.name == "slow" else keep_in(good))(channel, key, message)

    deliverer = alerts.deliverer(send)
    deliverer.step(alerts.now)
    for _ in range(MOST_OF_A_CHANNEL):
        assert hanging.begun.acquire(timeout=WAIT_S)
    deliverer.step(alerts.now)
    assert len(hanging.keys) == MOST_OF_A_CHANNEL < MOST_AT_ONCE
    hanging.go_on.set()
    for _ in range(4):
        assert deliverer.settle(WAIT_S)
        deliverer.step(alerts.now)
    assert deliverer.settle(WAIT_S)
    of_slow = {row.key: row.about for row in alerts.deliveries() if row.channel == "slow"}
    order = [of_slow[key] for key in hanging.keys]
    assert (len(order), len(good)) == (4, 1)
    rows = [row.key for row in alerts.deliveries() if row.about == "s0"]
    assert [key for key in hanging.keys if key in rows] == rows, "the first of a subject goes first"


def test_what_follows_on_a_subject_waits_while_the_first_is_tried_again(alerts: Alerts) -> None:
    alerts.channel()
    tell(alerts, key="first")
    alerts.pass_time(1)
    tell(alerts, key="second")
    broken = alerts.deliverer(failing)
    assert broken.step(alerts.now) == 1
    assert broken.settle(WAIT_S)
    assert broken.step(alerts.now) == 0
    alerts.pass_time(60)
    sent: list[tuple[str, str]] = []
    deliverer = alerts.deliverer(keep_in(sent))
    for _ in range(2):
        assert deliverer.step(alerts.now) == 1
        assert deliverer.settle(WAIT_S)
    assert [key for _, key in sent] == [row.key for row in alerts.deliveries()]


def test_what_waits_for_a_channel_that_is_gone_ends_with_the_reason(alerts: Alerts) -> None:
    alerts.channel()
    tell(alerts)
    alerts.client.delete(f"{URL}/channels/ops").raise_for_status()
    assert alerts.deliverer(failing).step(alerts.now) == 0
    assert (only(alerts).state, only(alerts).problem) == ("failed", "the channel was removed or switched off")


def test_a_clock_that_was_set_back_keeps_nothing_waiting(alerts: Alerts) -> None:
    alerts.channel()
    tell(alerts)
    deliverer = alerts.deliverer(failing)
    deliverer.step(alerts.now)
    assert deliverer.settle(WAIT_S)
    assert deliverer.step(alerts.now - timedelta(days=400)) == 1
    assert deliverer.settle(WAIT_S)


def test_a_message_that_can_not_be_read_ends_with_the_reason_and_holds_up_no_other(alerts: Alerts) -> None:
    alerts.channel("a")
    alerts.channel("b")
    tell(alerts)
    tell(alerts, key="later", subject="another")
    with alerts.hub.database.transaction() as session:
        broken = session.exec(
            select(AlertDelivery).where(AlertDelivery.about == "s", AlertDelivery.channel == "a")
        ).one()
        broken.payload = {"about": "s", "of": "another version"}
        session.add(broken)
    sent: list[tuple[str, str]] = []
    deliverer = alerts.deliverer(keep_in(sent))
    deliverer.step(alerts.now)
    assert deliverer.settle(WAIT_S)
    states = {(row.channel, row.about): row.state for row in alerts.deliveries()}
    assert states == {("a", "s"): "failed", ("b", "s"): "sent", ("a", "another"): "sent", ("b", "another"): "sent"}
    [failed] = [row for row in alerts.deliveries() if row.state == "failed"]
    assert "cannot be read" in failed.problem
