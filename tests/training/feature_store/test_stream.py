"""A stream and a batch recomputation of the same events come to the same numbers; the batch has what came too late."""

import json
import threading
from collections.abc import Iterator, Sequence
from getpass import getuser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulators.plain_broker import plain_broker
from tests.training.feature_store.clicks import DAY_S, DEFINITIONS, HOUR_S, START_S, S, click, clicks, stream

from shoal_numerics.features.events import Arrival
from shoal_training.errors import DataError, StreamError
from shoal_training.feature_store.definition import MqttOutput
from shoal_training.feature_store.event_source import EventSource
from shoal_training.feature_store.mqtt import MqttBroker, MqttEvents, MqttResults
from shoal_training.feature_store.stream import Closed, FeatureStream, Sink

Windows = dict[tuple[str, str, int], tuple[int, list[float]]]
END_NS = (START_S + 40 * DAY_S) * S


class Table:
    """What sinks have been given: the latest of each window."""

    def __init__(self) -> None:
        self.windows: Windows = {}
        self.created: dict[tuple[str, str, int], int] = {}

    def __call__(self, closed: Sequence[Closed]) -> None:
        for one in closed:
            rows = one.rows.windows
            for place, entity in enumerate(rows.entities):
                key = (one.definition, entity, int(rows.end_ns[place]))
                self.windows[key] = (int(rows.events[place]), rows.values[place].tolist())
                self.created[key] = int(one.rows.created_ns[place])


class Clock:
    """The time that a test sets."""

    def __init__(self) -> None:
        self.now_ns = START_S * S

    def __call__(self) -> int:
        return self.now_ns


def streamed(folder: Path, arrivals: list[Arrival], cuts: list[int], **changes: object) -> tuple[FeatureStream, Table]:
    table, clock = Table(), Clock()
    running = FeatureStream(stream(**changes), folder, [table], clock_ns=clock)
    start = 0
    while start < len(arrivals):
        part = arrivals[start : start + cuts[start % len(cuts)]]
        clock.now_ns = part[-1].at_ns
        running.take(part)
        start += len(part)
    return running, table


def same(found: Windows, wanted: Windows) -> None:
    assert found.keys() == wanted.keys()
    for key, (events, values) in found.items():
        assert events == wanted[key][0], key
        np.testing.assert_allclose(values, wanted[key][1], rtol=1e-9, err_msg=str(key))


@settings(max_examples=4)
@given(st.integers(0, 1000), st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_both_paths_come_to_the_same_windows_late_events_among_them(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[int]
) -> None:
    running, table = streamed(tmp_path_factory.mktemp("log"), clicks(150, seed=seed), cuts)
    assert set(running.late.values()) == {0}
    running.finish(END_NS)
    same(table.windows, batch(running).windows)
    running.close()


def batch(running: FeatureStream, until_ns: int = END_NS) -> Table:
    table = Table()
    running._sinks = [table]
    running.recompute(until_ns)
    return table


def test_the_batch_path_replaces_values_that_an_event_came_too_late_for(tmp_path: Path) -> None:
    punctual = clicks(200)
    forgotten = click("ann", START_S + 2 * DAY_S, 1000.0, START_S + 10 * DAY_S)
    running, table = streamed(tmp_path / "late", [*punctual, forgotten], [7])
    running.finish(END_NS)
    other, wanted = streamed(
        tmp_path / "in-time", sorted([*punctual, forgotten], key=lambda one: json.loads(one.data)["t"]), [7]
    )
    other.finish(END_NS)
    assert running.late["week"] == running.late["session"] == 1
    key = ("week", "ann", (START_S + 3 * DAY_S) * S)
    assert table.windows[key] != wanted.windows[key], "the stream has published it without the event"
    running.recompute(END_NS)
    by_time = {one: value for one, value in table.windows.items() if one[0] != "last_five"}
    for one, value in by_time.items():
        if one in wanted.windows:
            assert value[0] == wanted.windows[one][0], one
    assert table.windows[key][1] == pytest.approx(wanted.windows[key][1])
    assert {one for one in wanted.windows if one[0] != "last_five"} <= by_time.keys()


def test_a_value_of_the_batch_path_says_when_it_could_first_be_known(tmp_path: Path) -> None:
    forgotten = click("ann", START_S + 2 * DAY_S, 1000.0, START_S + 10 * DAY_S)
    running, _ = streamed(tmp_path, [*clicks(200), forgotten], [7])
    table = batch(running)
    with_it, before = (("week", "ann", (START_S + days * DAY_S) * S) for days in (3, 2))
    assert 0 <= table.created[with_it] - (START_S + 10 * DAY_S) * S < 1000
    assert table.created[before] == before[2]


def test_the_worked_example_comes_to_numbers_that_a_person_can_check(tmp_path: Path) -> None:
    visit = [click("ann", START_S + at, amount) for at, amount in ((0, 10.0), (600, 20.0), (1200, 60.0))]
    running, table = streamed(tmp_path, [*visit, click("ann", START_S + 2 * DAY_S, 10.0)], [1])
    running.finish(END_NS)
    assert table.windows["session", "ann", (START_S + 1200 + 1800) * S] == (3, [3.0])
    assert table.windows["recency", "ann", (START_S + HOUR_S) * S] == (3, [2400.0])
    assert table.windows["week", "ann", (START_S + DAY_S) * S] == (3, [30.0])
    assert table.windows["week", "ann", (START_S + 3 * DAY_S) * S] == (4, [25.0])
    assert table.windows["week", "ann", (START_S + 8 * DAY_S) * S] == (1, [10.0])


def test_a_stream_that_was_killed_goes_on_with_all_that_it_had_kept(tmp_path: Path) -> None:
    arrivals = clicks(200)
    whole, wanted = streamed(tmp_path / "whole", arrivals, [9])
    whole.finish(END_NS)
    first, table = streamed(tmp_path / "killed", arrivals[:90], [9])
    first.save()
    clock = Clock()
    clock.now_ns = arrivals[129].at_ns
    first._clock_ns = clock
    first.log.append(first._reader.read(arrivals[90:130]))  # kept, and then it was killed
    first.close()
    second = FeatureStream(stream(), tmp_path / "killed", [table], clock_ns=clock)
    second.take(arrivals[130:])
    second.finish(END_NS)
    same(table.windows, wanted.windows)


class Once(EventSource):
    """Gives messages in parts; those that were not done come again."""

    def __init__(self, parts: list[list[Arrival]]) -> None:
        self.parts = parts

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def take(self, most: int, timeout_s: float) -> list[Arrival]:  # noqa: ARG002 - see `EventSource`
        return self.parts[0]

    def done(self, arrivals: Sequence[Arrival]) -> None:  # noqa: ARG002 - see `EventSource`
        del self.parts[0]


def test_a_sink_that_is_away_makes_no_event_count_twice_and_loses_no_window(tmp_path: Path) -> None:
    arrivals = clicks(120)
    whole, wanted = streamed(tmp_path / "whole", arrivals, [9])
    whole.finish(END_NS)
    source = Once([arrivals[at : at + 10] for at in range(0, 120, 10)])
    table, clock = Table(), Clock()

    def away(closed: Sequence[Closed]) -> None:  # noqa: ARG001 - see `Sink`
        raise StreamError("publishing: the broker is away")

    failures = 0
    while source.parts:
        clock.now_ns = source.parts[0][-1].at_ns
        sinks: list[Sink] = [away if failures < 4 else table]
        running = FeatureStream(stream(), tmp_path / "away", sinks, clock_ns=clock)
        try:
            running.run(source, lambda: not source.parts)
        except StreamError:
            failures += 1
        running.close()
    assert failures == 4
    last = FeatureStream(stream(), tmp_path / "away", [table], clock_ns=clock)
    assert len(last.log.read().at_ns) == 120
    last.finish(END_NS)
    same(table.windows, wanted.windows)


def test_what_was_not_given_is_given_before_windows_are_kept_without_it(tmp_path: Path) -> None:
    running, table = streamed(tmp_path, clicks(60), [9])
    known = dict(table.windows)
    running.close()
    table.windows.clear()
    again = FeatureStream(stream(), tmp_path, [table])
    again.save()
    assert table.windows
    assert table.windows.items() <= known.items()


def test_a_log_of_other_fields_is_refused(tmp_path: Path) -> None:
    streamed(tmp_path, clicks(5), [1])[0].close()
    other = {"week": DEFINITIONS["week"] | {"features": {"x": {"aggregate": "mean", "field": "price"}}}}
    with pytest.raises(DataError, match=r'fields \["amount"\], the definitions read \["price"\]'):
        FeatureStream(stream(definitions=other), tmp_path, [])


def test_events_older_than_they_are_kept_for_are_forgotten(tmp_path: Path) -> None:
    running, _ = streamed(tmp_path, clicks(200), [50], keep_days=2)
    running.save()
    held = running.log.read().at_ns
    assert 0 < len(held) < 200
    assert held.min() >= held.max() - 2 * DAY_S * S


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MqttBroker]:
    with plain_broker(tmp_path_factory.mktemp("broker")) as port:
        yield MqttBroker(host="127.0.0.1", port=port)


def test_clicks_of_a_broker_become_results_on_a_topic(broker: MqttBroker, tmp_path: Path) -> None:
    output = MqttOutput(broker=broker, topic="features/clicks")
    definition = stream(output=output)
    source = MqttEvents(broker, "shop/+/clicks", "clicks-become-results", entity_level=1)
    listener = MqttEvents(broker, "features/clicks", "reads-results")
    running = FeatureStream(definition, tmp_path, [])
    stop = threading.Event()
    with listener, source, MqttResults(broker, output.topic) as results, MqttResults(broker, "shop/ann/clicks") as shop:
        running._sinks = [lambda closed: results.publish([line for one in closed for line in one.lines()])]
        thread = threading.Thread(target=running.run, args=(source, stop.is_set))
        thread.start()
        shop.publish([json.dumps({"t": START_S + at, "amount": 2.0}).encode() for at in (0, 60, DAY_S)])
        found: list[bytes] = []
        while not any(b'"session"' in one for one in found):
            came = listener.take(1000, 20.0)
            assert came, "nothing was published in time"
            listener.done(came)
            found += [one.data for one in came]
        stop.set()
        thread.join()
    session = next(json.loads(one) for one in found if b'"session"' in one)
    assert (session["entity"], session["events"], session["features"]) == ("ann", 2, {"count": 2.0})
    assert session["end_ns"] == (START_S + 60 + 1800) * S


def test_what_was_not_done_comes_again_after_a_restart(broker: MqttBroker) -> None:
    with MqttEvents(broker, "again/#", "comes-again") as source, MqttResults(broker, "again/x") as sender:
        sender.publish([b"one"])
        [first] = source.take(10, 20.0)
        source.done([first])
        sender.publish([b"two"])
        assert [one.data for one in source.take(10, 20.0)] == [b"two"]  # and is not done
    with MqttResults(broker, "again/x") as sender:
        sender.publish([b"three"])
    with MqttEvents(broker, "again/#", "comes-again") as source:
        found: list[bytes] = []
        while len(found) < 2:
            found += [one.data for one in source.take(10, 20.0)]
    assert found == [b"two", b"three"]


def test_a_broker_that_refuses_a_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic write open/#\n")
    with plain_broker(tmp_path, more=f"user {getuser()}\nacl_file {tmp_path / 'acl'}\n") as port:
        here = MqttBroker(port=port)
        with MqttResults(here, "closed") as sender, pytest.raises(StreamError, match="closed: refused: Not authorized"):
            sender.publish([b"one", b"two"])
        with MqttResults(here, "open/x") as sender:
            sender.publish([b"one", b"two"])


def test_a_broker_that_is_not_there_is_told() -> None:
    nowhere = MqttEvents(MqttBroker(port=1), "x", "nobody", start_s=0.3)
    with pytest.raises(StreamError, match="connecting to 127.0.0.1 port 1: no answer within 0.3 s"), nowhere:
        pass
