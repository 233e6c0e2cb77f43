"""Devices that match a query, on both engines: all that match and no other, by name, whatever text is in the query."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session
from tests.hub.devices.queries import Drawn, devices, expressions, identified, in_sql, means
from tests.simulators.rows import NOON, add_device

from shoal_hub import database as hub_database
from shoal_hub.database import Database
from shoal_hub.devices import matching as batches
from shoal_hub.devices.matching import load_devices, matching_ids
from shoal_hub.devices.query import Query, QueryError, parse_query
from shoal_hub.devices.tables import Device

INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE devices; --",
    'x" or name = "y',
    "x) or (1=1",
    "%' OR name LIKE '%",
    "\\'; SELECT pg_sleep(5); --",
    ":name",
    "?",
    "{0}",
)


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.session() as opened:
        yield opened


def matching(session: Session, text: str) -> list[Device]:
    return load_devices(session, list(matching_ids(session, parse_query(text), NOON)))


def names(session: Session, text: str) -> list[str]:
    return [device.name for device in matching(session, text)]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(root=in_sql | expressions, fleet=st.lists(devices, min_size=1, max_size=8))
def test_the_database_and_python_find_the_same_devices(session: Session, root: Any, fleet: list[Drawn]) -> None:
    try:
        rows = [(add_device(session, **identified(one)), one) for one in fleet]
        expected = sorted((row.name, row.id) for row, one in rows if means(root, one))
        found = matching(session, str(Query(root)))
        assert sorted((row.name, row.id) for row in found) == expected
    finally:
        session.rollback()


def test_matches_come_by_name_over_the_borders_of_batches(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "READ_BATCH_ROWS", 3)
    monkeypatch.setattr(hub_database, "_PART", 2)
    for number in (7, 3, 1, 9, 5, 2, 8, 4, 6):
        add_device(session, name=f"device-{number}", tags={"parity": str(number % 2)})
    assert names(session, "tags.parity = 1") == [f"device-{number}" for number in (1, 3, 5, 7, 9)]
    assert names(session, "name ~ *") == [f"device-{number}" for number in range(1, 10)]


def test_a_revoked_device_matches_nothing(session: Session) -> None:
    add_device(session, name="there")
    add_device(session, name="gone", revoked_at=NOON)
    assert names(session, "name ~ *") == ["there"]
    assert names(session, "name in (there, gone)") == ["there"]


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_that_tries_to_be_a_query_or_sql_is_text(session: Session, text: str) -> None:
    add_device(session, name=text, group="greenhouse", tags={"site": text})
    add_device(session, name="other")
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    for query in (f"name = {quoted}", f"tags.site = {quoted}", f"name in ({quoted}, none) and group = greenhouse"):
        assert names(session, query) == [text]
    assert names(session, f"id = {quoted} or presence != never") == []
    assert session.get(Device, "d-" + "a" * 16) is None, "the table is still there"


@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_in_the_place_of_a_query_is_none(text: str) -> None:
    with pytest.raises(QueryError):
        parse_query(text)


def test_a_query_of_the_most_values_is_one_that_both_engines_take(session: Session) -> None:
    add_device(session, name="z")
    many = ",".join(["a"] * 980)
    assert names(session, f"name in ({many},z)") == ["z"]
