"""A pipeline carries events from its source to store, model and sinks; what is slow or away costs the oldest alone."""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from tests.agent.features.conftest import BY_TIME, PAIRS, Device, line, until
from tests.agent.serving.conftest import served_pair, served_tiny
from tests.fixtures import tiny

from shoal_agent.features import FeaturesError, UnreachableError
from shoal_agent.features.delivery import Delivery
from shoal_agent.features.running import RunningPipeline
from shoal_agent.settings import FeatureSettings
from shoal_contract.features import (
    EventForm,
    Feature,
    FeatureDefinition,
    FileSink,
    FileSource,
    HttpSource,
    ModelStep,
    Pipeline,
    TimeWindow,
)
from shoal_numerics.features.events import Arrival

pytestmark = pytest.mark.anyio
SECONDS = FeatureDefinition(
    window=TimeWindow(size_ms=1000, every_ms=1000), features={"max": Feature(aggregate="max", field="x")}
)
PUSHED = Pipeline(source=HttpSource(), form=BY_TIME, definitions=("pairs",), sinks=(FileSink(path="out.jsonl"),))


def push(*lines: bytes) -> list[Arrival]:
    return [Arrival(one, time.time_ns()) for one in lines]


def has_read(running: RunningPipeline, events: int) -> bool:
    return running.computation.reader.counts.events == events


def results(device: Device, name: str = "out.jsonl") -> list[dict[str, Any]]:
    path = device.folder / "streams" / name
    return [json.loads(one) for one in path.read_text().splitlines()] if path.exists() else []


async def test_events_of_a_file_become_values_in_the_store_and_lines_of_another(device: Device) -> None:
    source = device.folder / "streams" / "in.jsonl"
    source.write_bytes(line("a", 1, 1.0) + line("b", 1, 5.0) + line("a", 2, 3.0))
    declared = PUSHED.model_copy(update={"source": FileSource(path="in.jsonl", is_read_from_start=True)})
    async with device.running(declared) as running:
        await until(lambda: results(device))
        with source.open("ab") as file:
            file.write(line("b", 2, 7.0))
        await until(lambda: len(results(device)) == 2)
        counts = running.counts()
    assert (device.value("pairs/mean"), device.value("pairs/mean", "b")) == (2.0, 6.0)
    first = results(device)[0]
    assert (first["entity"], first["definition"], first["events"]) == ("a", "pairs", 2)
    assert first["features"] == {"last": 3.0, "mean": 2.0}
    assert (first["start_ns"], first["end_ns"]) == (1_000_000_000, 2_000_000_000)
    assert counts["lines"] == {"events": 4, "malformed": 0, "ahead": 0}
    assert counts["problems"] == {}


async def test_open_windows_and_the_place_in_the_file_outlast_a_restart(device: Device) -> None:
    source = device.folder / "streams" / "in.jsonl"
    declared = PUSHED.model_copy(update={"source": FileSource(path="in.jsonl")})
    async with device.running(declared) as running:
        await running.is_ready.wait()
        source.write_bytes(line("a", 1, 1.0))
        await until(lambda: running.computation.windows["pairs"].counts.taken == 1)
    device.restart()
    with source.open("ab") as file:
        file.write(line("a", 2, 3.0))
    async with device.running(declared):
        await until(lambda: results(device))
    assert [one["features"]["mean"] for one in results(device)] == [2.0]


async def test_open_windows_are_saved_while_it_runs_for_a_power_cut_comes_unasked(tmp_path: Path) -> None:
    device = Device(tmp_path, quick={"save_s": 0.0})
    async with device.running(PUSHED) as running:
        running.inbox.put(push(line("a", 1, 1.0)))
        await until(lambda: running.computation.windows["pairs"].counts.taken == 1)
        running.inbox.put(push(b""))
        await until(lambda: device.store.saved("p").windows)
    device.store.close()


async def test_windows_of_a_silent_entity_are_closed_by_the_time_that_passes(device: Device) -> None:
    short = SECONDS.model_copy(update={"window": TimeWindow(size_ms=50, every_ms=50)})
    declared = PUSHED.model_copy(update={"definitions": ("short",)})
    async with device.running(declared, short=short) as running:
        running.inbox.put(push(line("a", 1000.01, 4.0)))
        await until(lambda: results(device))
    assert results(device)[0]["end_ns"] == 1_000_050_000_000


async def test_old_events_of_a_file_are_not_late_by_the_clock_of_the_device(device: Device) -> None:
    declared = PUSHED.model_copy(update={"definitions": ("seconds",)})
    async with device.running(declared, seconds=SECONDS) as running:
        for at_s in range(100, 105):
            running.inbox.put(push(line("a", at_s, float(at_s))))
            await until(partial(has_read, running, at_s - 99))
        await until(lambda: len(results(device)) >= 4)
    assert running.computation.windows["seconds"].counts.late == 0


async def test_the_model_answers_for_windows_with_features_of_two_definitions_and_fallbacks(device: Device) -> None:
    await device.server.swap("tiny", served_tiny(3))
    slow = SECONDS.model_copy(update={"features": {"max": Feature(aggregate="max", field="x", fallback=0.25)}})
    names = ("pairs/mean", "pairs/last", "slow/max", "pairs/mean")
    declared = PUSHED.model_copy(
        update={"definitions": ("pairs", "slow"), "model": ModelStep(name="tiny", features=names)}
    )
    async with device.running(declared, pairs=PAIRS, slow=slow) as running:
        running.inbox.put(push(line("a", 1, 1.0), line("a", 1.5, 3.0)))
        await until(lambda: [one for one in results(device) if one["definition"] == "pairs"])
        counts = running.counts()
    await device.server.aclose()
    said = next(one for one in results(device) if one["definition"] == "pairs")["model"]
    expected = tiny.probabilities(np.array([[2.0, 3.0, 0.25, 2.0]], dtype="float32"))
    assert said["outputs"]["probabilities"] == pytest.approx(expected[0].tolist(), abs=1e-5)
    assert (said["model"], said["version"], said["id"]) == ("tiny", 3, device.seen.ids[0])
    assert counts["model"] == {"answered": 1, "incomplete": 0, "failed": 0}


async def test_a_window_without_a_value_and_fallback_asks_no_model_and_still_goes_to_the_sinks(device: Device) -> None:
    await device.server.swap("tiny", served_tiny())
    declared = PUSHED.model_copy(update={"model": ModelStep(name="tiny", features=("pairs/mean",) * 4)})
    async with device.running(declared) as running:
        running.inbox.put(push(b'{"id": "a", "t": 1}', b'{"id": "a", "t": 2}'))
        await until(lambda: results(device))
        assert running.counts()["model"] == {"answered": 0, "incomplete": 1, "failed": 0}
    await device.server.aclose()
    assert "model" not in results(device)[0]
    assert results(device)[0]["features"] == {"last": None, "mean": None}


async def test_the_fallback_of_a_feature_stands_in_the_model_s_input_and_not_in_the_result(device: Device) -> None:
    await device.server.swap("tiny", served_tiny())
    mean = Feature(aggregate="mean", field="y", fallback=0.5)
    pairs = PAIRS.model_copy(update={"features": {"mean": mean}})
    declared = PUSHED.model_copy(update={"model": ModelStep(name="tiny", features=("pairs/mean",) * 4)})
    async with device.running(declared, pairs=pairs) as running:
        running.inbox.put(push(line("a", 1, 1.0), line("a", 2, 1.0)))
        await until(lambda: results(device))
    await device.server.aclose()
    [(inputs, _, _)] = device.seen.answered
    assert inputs["x"].tolist() == [[0.5] * 4]
    assert results(device)[0]["features"] == {"mean": None}


@pytest.mark.parametrize(("serve", "said"), [(None, "not served"), (served_pair, "expected one of floating point")])
async def test_a_model_that_is_not_there_or_takes_other_inputs_is_told_and_results_still_come(
    device: Device, serve: Any, said: str
) -> None:
    if serve is not None:
        await device.server.swap("tiny", serve())
    declared = PUSHED.model_copy(update={"model": ModelStep(name="tiny", features=("pairs/mean",))})
    async with device.running(declared) as running:
        running.inbox.put(push(line("a", 1, 1.0), line("a", 2, 1.0)))
        await until(lambda: results(device))
        assert said in running.counts()["problems"]["model"]
    assert said in str(device.problems[-1]["model"])
    await device.server.aclose()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"definitions": ("pairs", "missing")}, "computing the definition 'missing'"),
        ({"source": FileSource(path="/etc/passwd")}, "expected a file within"),
        ({"source": FileSource(path="../identity/key.pem")}, "expected a file within"),
        ({"sinks": (FileSink(path="/tmp/out"),)}, "expected a file within"),  # noqa: S108 - refused
        ({"model": ModelStep(name="tiny", features=("pairs/median",))}, "no feature pairs/median"),
    ],
)
async def test_what_can_not_run_on_this_device_says_why(device: Device, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FeaturesError, match=said):
        device.make(PUSHED.model_copy(update=changes))


async def test_a_link_does_not_lead_out_of_the_folders_that_are_allowed(device: Device) -> None:
    (device.folder / "secret").write_text("key")
    (device.folder / "streams" / "link").symlink_to(device.folder / "secret")
    with pytest.raises(FeaturesError, match="expected a file within"):
        device.make(PUSHED.model_copy(update={"source": FileSource(path="link")}))


async def test_a_flood_is_bounded_and_counted(device: Device) -> None:
    declared = PUSHED.model_copy(update={"max_waiting": 10})
    running = device.make(declared)  # nothing takes from its inbox
    assert running.inbox.put(push(*[line("a", n, 1.0) for n in range(100)])) == 90
    assert (len(running.inbox), running.counts()["messages"]["dropped"]) == (10, 90)


class Recorder:
    """A sink that fails as told, and keeps what it took."""

    def __init__(self, *fates: type[Exception] | None) -> None:
        self.fates = list(fates)
        self.taken: list[bytes] = []
        self.is_closed = False

    async def send(self, sent: Sequence[bytes]) -> None:
        fate = self.fates.pop(0) if self.fates else None
        if fate is not None:
            raise fate("as told")
        self.taken += sent

    async def aclose(self) -> None:
        self.is_closed = True


async def test_results_of_a_sink_that_is_away_come_again_in_order_and_refused_ones_do_not() -> None:
    sink, told = Recorder(UnreachableError, UnreachableError, None, FeaturesError), []
    settings = FeatureSettings(retry_min_s=0.001, retry_max_s=0.002, sink_results=2)
    delivery = Delivery("s", sink, 100, settings, lambda problem: told.append(str(problem)))
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        delivery.waiting.put([b"1", b"2", b"3", b"4", b"5"])
        await until(lambda: delivery.sent == 3)
        group.cancel_scope.cancel()
    assert sink.taken == [b"1", b"2", b"5"]
    assert (delivery.refused, sink.is_closed) == (2, True)
    assert told == ["as told", "as told", "None", "as told", "None"]


async def test_a_full_disk_takes_no_values_and_the_pipeline_goes_on(device: Device) -> None:
    device.store._database.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON latest BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    async with device.running(PUSHED) as running:
        running.inbox.put(push(line("a", 1, 1.0), line("a", 2, 1.0)))
        await until(lambda: results(device))
        assert "full" in running.counts()["problems"]["store"]
        device.store._database.execute("DROP TRIGGER refuse")
        running.inbox.put(push(line("a", 3, 1.0), line("a", 4, 5.0)))
        await until(lambda: device.value("pairs/last") == 5.0)
        await until(lambda: running.counts()["problems"] == {})


async def test_a_file_waits_instead_of_losing_lines_while_the_pipeline_is_behind(tmp_path: Path) -> None:
    device = Device(tmp_path, quick={"batch_messages": 1})
    source = device.folder / "streams" / "in.jsonl"
    source.write_bytes(b"".join(line("a", n, float(n)) for n in range(20_000)))
    declared = PUSHED.model_copy(
        update={"source": FileSource(path="in.jsonl", is_read_from_start=True), "max_waiting": 4, "sinks": ()}
    )
    async with device.running(declared) as running:
        await until(lambda: running.computation.reader.counts.events == 20_000, 30)
        assert running.inbox.dropped == 0
    device.store.close()


async def test_events_without_a_time_of_their_own_get_that_of_their_arrival(device: Device) -> None:
    declared = PUSHED.model_copy(update={"form": EventForm(entity="boiler")})
    async with device.running(declared) as running:
        running.inbox.put([Arrival(b'{"x": 1}\n{"x": 2}', 5_000_000_000)])
        await until(lambda: results(device))
    assert (results(device)[0]["entity"], results(device)[0]["end_ns"]) == ("boiler", 5_000_000_000)
