"""Events: recorded once, listed in order, and told live."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import cast

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select

from shoal_hub.context import HubContext
from shoal_hub.database import Database, utc_now
from shoal_hub.events.changes import ChangeFeed
from shoal_hub.events.record import record_event
from shoal_hub.events.routes import _changes
from shoal_hub.operators.roles import Principal, Role
from shoal_hub.operators.sessions import find_session, open_session
from shoal_hub.operators.tables import ConsoleSession, OperatorToken, User
from shoal_hub.operators.tokens import create_operator_token, find_token, principal_of


def record(database: Database, *messages: str, device: str | None = None, subject: str = "") -> None:
    for message in messages:
        with database.transaction() as session:
            record_event(session, "test", message, device_id=device, subject=subject)


def test_an_event_of_a_device_that_arrives_twice_is_recorded_once(database: Database) -> None:
    for expected in (True, False):
        with database.transaction() as session:
            row = record_event(session, "test", "x", event_id="0" * 32)
            assert (row is not None) is expected


def test_events_come_in_order_after_a_given_one_and_by_device_and_subject(client: TestClient, hub: HubContext) -> None:
    record(hub.database, "a", "b", device="d-1", subject="rollout/r-1")
    record(hub.database, "c", device="d-2")
    everything = client.get("/api/v1/events").json()
    assert [event["message"] for event in everything] == ["a", "b", "c"]
    after = client.get("/api/v1/events", params={"after": everything[0]["id"], "limit": 1}).json()
    assert [event["message"] for event in after] == ["b"]
    assert [event["message"] for event in client.get("/api/v1/events?limit=1").json()] == ["c"]
    assert [event["message"] for event in client.get("/api/v1/events?device=d-2").json()] == ["c"]
    assert len(client.get("/api/v1/events", params={"subject": "rollout/r-1"}).json()) == 2


@pytest.mark.parametrize("query", ["after=-1", "after=9223372036854775808", "limit=0", "device=%00", "limit=1001"])
def test_a_query_without_sense_is_refused(sqlite_client: TestClient, query: str) -> None:
    assert sqlite_client.get(f"/api/v1/events?{query}").status_code == 422


def test_a_word_from_another_thread_reaches_every_reader_once() -> None:
    async def scenario() -> None:
        feed = ChangeFeed()
        async with feed.subscribe() as first, feed.subscribe() as second:
            thread = threading.Thread(target=lambda: [feed.tell(["devices"]), feed.tell(["devices", "jobs"])])
            thread.start()
            thread.join()
            assert await first.take(5) == {"devices", "jobs"}
            assert await second.take(5) == {"devices", "jobs"}
            assert await first.take(0.01) == frozenset()
        feed.tell(["devices"])

    asyncio.run(scenario())


def reader_by(hub: HubContext, way: str) -> Principal:
    """Somebody who was let in by a token, or at the console by one."""
    with hub.database.transaction() as session:
        text = create_operator_token(session, "grace", Role.VIEWER)
        session.flush()
        token, user = find_token(session, text, utc_now())
        if way == "token":
            return principal_of(token, user, "10.0.0.1")
        secret = open_session(session, hub.settings, user, token, utc_now(), former=None)
    return find_session(hub.database, hub.settings, secret, utc_now(), "10.0.0.1")


@pytest.mark.parametrize(
    ("way", "end"),
    [
        ("token", "revoked"),
        ("token", "expired"),
        ("token", "disabled"),
        ("session", "revoked"),
        ("session", "disabled"),
        ("session", "logged out"),
        ("session", "timed out"),
        ("session", "left alone"),
    ],
)
def test_a_stream_ends_with_what_let_its_reader_in(
    sqlite_hub: HubContext, monkeypatch: pytest.MonkeyPatch, way: str, end: str
) -> None:
    monkeypatch.setattr("shoal_hub.events.watch.LOOK_S", 0.05)
    reader = reader_by(sqlite_hub, way)

    def let_out() -> None:
        with sqlite_hub.database.transaction() as session:
            token, opened = session.exec(select(OperatorToken)).one(), session.exec(select(ConsoleSession)).first()
            if end == "revoked":
                token.revoked_at = utc_now()
            elif end == "expired":
                token.expires_at = utc_now()
            elif end == "disabled":
                session.get_one(User, token.user_id).disabled_at = utc_now()
            elif end == "logged out":
                session.delete(opened)
            elif end == "left alone" and opened is not None:
                opened.last_seen_at -= timedelta(seconds=sqlite_hub.settings.session_idle_s)
            elif opened is not None:
                opened.expires_at = utc_now()

    async def scenario() -> list[str]:
        stream = _changes(sqlite_hub, reader)
        assert (await anext(stream)).startswith("event: ")
        await anext(stream)
        await asyncio.to_thread(let_out)
        sqlite_hub.changes.tell(["devices"])
        return [told async for told in stream]

    assert asyncio.run(asyncio.wait_for(scenario(), 10)) == []


def test_the_stream_tells_a_change_even_when_the_wake_was_lost(
    hub: HubContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_hub.events.watch.LOOK_S", 0.05)

    async def scenario() -> list[str]:
        stream = cast("AsyncGenerator[str]", _changes(hub, reader_by(hub, "token")))
        told = [await anext(stream)]
        assert (await anext(stream)).startswith(":"), "a comment, so that the connection is seen to work"
        await asyncio.to_thread(record, hub.database, "a")  # nobody tells the feed
        told.append(await anext(stream))
        hub.changes.tell(["devices"])
        told.append(await anext(stream))
        await stream.aclose()
        return told

    opened, silent, woken = asyncio.run(asyncio.wait_for(scenario(), 10))
    assert opened.startswith("event: open")
    assert json.loads(silent.split("data: ")[1]) == {"what": ["events"]}
    assert json.loads(woken.split("data: ")[1]) == {"what": ["devices"]}
