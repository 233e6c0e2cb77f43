"""Lines become events; what is none is counted and never ends the pipeline."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.settings import FeatureSettings
from shoal_contract.features import EventForm
from shoal_numerics.features.events import Arrival, EventReader

NOW_NS = 1_700_000_000_000_000_000
SETTINGS = FeatureSettings()


def reader(**form: object) -> EventReader:
    return EventReader(EventForm.model_validate({"time_field": "t", "entity_field": "id"} | form), ("x", "y"), SETTINGS)


def test_json_lines_and_lists_are_events_with_missing_fields_as_nan() -> None:
    made = reader()
    data = (
        b'{"id": "a", "t": 1.5, "x": 1, "y": "2.5"}\n\n[{"id": 7, "t": 2, "x": true}, {"id": "b", "t": 3, "y": null}]'
    )
    batch = made.read([Arrival(data, NOW_NS)])
    assert batch.entities == ["a", "7", "b"]
    assert batch.times_ns.tolist() == [1_500_000_000, 2_000_000_000, 3_000_000_000]
    assert batch.values[0].tolist() == [1.0, 2.5]
    assert batch.values[1][0] == 1.0
    assert math.isnan(batch.values[1][1])
    assert math.isnan(batch.values[2][1])
    assert made.counts.malformed == 0


def test_csv_goes_by_its_columns_and_quotes() -> None:
    made = reader(kind="csv", columns=("id", "t", "y", "x"), time_unit="ms")
    batch = made.read([Arrival(b'"pump, north",1500,4,3\nb,2,1\nb,x,1,2\n', NOW_NS)])
    assert (batch.entities, batch.times_ns.tolist()) == (["pump, north"], [1_500_000_000])
    assert batch.values.tolist() == [[3.0, 4.0]]
    assert made.counts.malformed == 2


def test_without_time_and_entity_fields_the_arrival_says_both() -> None:
    made = reader(time_field=None, entity_field=None, entity="boiler")
    batch = made.read([Arrival(b'{"x": 1}', NOW_NS), Arrival(b'{"x": 2}', NOW_NS + 1, "pump")])
    assert (batch.entities, batch.times_ns.tolist()) == (["boiler", "pump"], [NOW_NS, NOW_NS + 1])


def test_whole_numbers_of_ns_keep_every_digit() -> None:
    made = reader(time_unit="ns")
    batch = made.read([Arrival(json.dumps({"id": "a", "t": NOW_NS + 1}).encode(), NOW_NS)])
    assert batch.times_ns.tolist() == [NOW_NS + 1]


def test_an_event_far_ahead_of_the_clock_is_refused_and_counted() -> None:
    made = reader()
    ahead_s = NOW_NS / 1e9 + SETTINGS.ahead_s
    events = [{"id": "a", "t": ahead_s + 1}, {"id": "a", "t": ahead_s - 1}]
    batch = made.read([Arrival(json.dumps(events).encode(), NOW_NS)])
    assert (len(batch.entities), made.counts.ahead, made.counts.events) == (1, 1, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"3",
        b"null",
        b'{"t": 1}',
        b'{"id": "", "t": 1}',
        b'{"id": "a"}',
        b'{"id": "a", "t": "soon"}',
        b'{"id": "a", "t": 1e30}',
        b'{"id": "a", "t": true}',
        b'{"id": "a", "t": NaN}',
        b'{"id": ["a"], "t": 1}',
        b'{"id": "' + b"a" * 200 + b'", "t": 1}',
        b"[" * 50_000,
        b"\xff\xfe",
        b'{"id": "a", "t": 1, "x": "' + b"1" * 70_000 + b'"}',
        b"{}" * 600_000,
    ],
)
def test_what_is_no_event_is_counted_once(data: bytes) -> None:
    made = reader()
    assert made.read([Arrival(data, NOW_NS)]).entities == []
    assert made.counts.malformed == 1


@given(st.lists(st.binary(max_size=200), max_size=5), st.sampled_from(["json", "csv"]))
def test_no_bytes_raise(parts: list[bytes], kind: str) -> None:
    made = reader(kind=kind, columns=("id", "t", "x"))
    batch = made.read([Arrival(part, NOW_NS) for part in parts])
    assert len(batch.entities) == len(batch.times_ns) == len(batch.values) == made.counts.events
