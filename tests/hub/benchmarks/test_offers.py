"""Benchmarks at the hub: offered class by class, to another device where one disappears, and what comes is checked."""

import threading
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select
from tests.simulators.rows import NOON, add_device, apply_reported, make_report

from shoal_contract.benchmarks import (
    BenchmarkCandidate,
    BenchmarkResult,
    CandidateMeasured,
    DesiredBenchmark,
    LatencySpread,
)
from shoal_contract.manifest import TensorSpec
from shoal_contract.reported import Hardware
from shoal_hub.benchmarks.chore import LOOK, BenchmarkOffers
from shoal_hub.benchmarks.collect import take_benchmark_result
from shoal_hub.benchmarks.device_classes import BoardClass, _device, class_devices, devices_like, target_class
from shoal_hub.benchmarks.offer import GONE, GRACE, Plan, begin_benchmark, close_device, devices_of, owner_of
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.context import HubContext
from shoal_hub.devices.compose import compose
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device, Presence
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.tables import EventRow
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.transfer.leases import lease_users
from shoal_hub.transfer.needs import needs_of

PI = Hardware(kind="raspberry-pi", model="Raspberry Pi 4 Rev 1.4", architecture="aarch64", cores=4, memory_bytes=2**32)
BOARD = "test board (x86_64)"
PI_CLASS = "Raspberry Pi 4 (aarch64)"
BOARDS, PIS = BoardClass(BOARD, "generic"), BoardClass(PI_CLASS, "pi4")
SHA = "5" * 64


class Fleet:
    """Three devices of one class, one Pi, and a benchmark of two candidates."""

    def __init__(self, hub: HubContext) -> None:
        self.hub = hub
        with hub.database.transaction() as session:
            self.ids = sorted(add_device(session, presence="online", presence_since=NOON).id for _ in range(3))
            self.pi = add_device(session, presence="online", presence_since=NOON).id
            for one in self.ids:
                apply_reported(session, one, make_report(), NOON)
            pi_targets = ("pi4-litert-int8", "generic-litert-int8")
            apply_reported(session, self.pi, make_report(hardware=PI, runtimes=("litert",), targets=pi_targets), NOON)
            files = [store_artifact(session, hub.artifacts, bytes([n]) * 10).sha256 for n in range(3)]
        self.files = {"source": files[0], "int8": files[1]}
        self.body = DesiredBenchmark(
            inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
            outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 3)),),
            candidates=tuple(
                BenchmarkCandidate(name=name, runtime="onnxruntime", sha256=sha256, size_bytes=10)
                for name, sha256 in self.files.items()
            ),
            samples_sha256=files[2],
            samples_bytes=10,
            deadline_at=NOON,
        )

    def begin(self, devices: int = 1, classes: Collection[BoardClass] = (BOARDS,)) -> str:
        plan = Plan("compression/c-1", self.body, 100, classes, devices, 600.0)
        with self.hub.database.transaction() as session:
            return begin_benchmark(session, plan, by="ada", now=NOON).id

    def step(self, now: datetime) -> None:
        BenchmarkOffers(self.hub.database).step(now)

    def outcomes(self, benchmark_id: str) -> dict[str, str]:
        with self.hub.database.session() as session:
            return {one.device_id: one.outcome for one in devices_of(session, benchmark_id)}

    def state(self, benchmark_id: str) -> str:
        with self.hub.database.session() as session:
            return session.get_one(Benchmark, benchmark_id).state

    def wanted(self, device_id: str) -> dict[str, DesiredBenchmark]:
        with self.hub.database.session() as session:
            return compose(intents_of(session, device_id), NOON).benchmarks

    def vanish(self, device_id: str, at: datetime = NOON) -> None:
        self._be(device_id, "offline", at)

    def come_back(self, device_id: str, at: datetime) -> None:
        self._be(device_id, "online", at)

    def _be(self, device_id: str, presence: Presence, at: datetime) -> None:
        with self.hub.database.transaction() as session:
            device = session.get_one(Device, device_id)
            device.presence, device.presence_since = presence, at
            session.add(device)

    def tell(self, device_id: str, benchmark_id: str, now: datetime = NOON, **changes: Any) -> None:
        spread = LatencySpread(p25=1.0, p50=2.0, p75=3.0, p95=4.0, runs=50)
        measured = tuple(
            CandidateMeasured(name=name, sha256=sha256, latency_ms=spread, samples=100, agreed=99, right=90)
            for name, sha256 in self.files.items()
        )
        fields = {"benchmark": benchmark_id, "outcome": "done", "measured": measured} | changes
        with self.hub.database.transaction() as session:
            take_benchmark_result(session, device_id, BenchmarkResult.model_validate(fields), now)

    def events(self) -> list[str]:
        with self.hub.database.session() as session:
            return [one.message for one in session.exec(select(EventRow)).all()]


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    return Fleet(hub)


@pytest.fixture
def sqlite_fleet(sqlite_hub: HubContext) -> Fleet:
    return Fleet(sqlite_hub)


def test_each_class_measures_on_as_many_devices_as_are_asked_for(fleet: Fleet) -> None:
    benchmark = fleet.begin(2, (BOARDS, PIS))
    first, second, third = fleet.ids
    assert set(fleet.outcomes(benchmark)) == {first, second, fleet.pi}
    wanted = fleet.wanted(first)[benchmark]
    assert wanted.candidates == fleet.body.candidates
    assert wanted.deadline_at == NOON + timedelta(seconds=600)
    assert fleet.wanted(third) == {}
    with fleet.hub.database.session() as session:
        assert {*fleet.files.values(), fleet.body.samples_sha256} <= needs_of(session, first, NOON)
        assert owner_of(benchmark) in lease_users(session)
    for one in (first, second, fleet.pi):
        fleet.tell(one, benchmark)
        fleet.step(NOON)
    assert fleet.state(benchmark) == "done"
    assert fleet.wanted(first) == {}
    with fleet.hub.database.session() as session:
        assert owner_of(benchmark) not in lease_users(session)


def test_a_device_that_disappears_gives_way_to_another_of_its_class_and_it_is_said(fleet: Fleet) -> None:
    benchmark = fleet.begin()
    first, second, _ = fleet.ids
    fleet.vanish(first)
    fleet.step(NOON + GONE)
    assert fleet.outcomes(benchmark) == {first: "open"}, "it may be on its way back"
    fleet.step(NOON + GONE + timedelta(seconds=1))
    assert fleet.outcomes(benchmark) == {first: "gone", second: "open"}
    assert fleet.wanted(first) == {}
    assert any(f"{first} ({BOARD}) has disappeared; another device" in one for one in fleet.events())
    fleet.tell(second, benchmark)
    fleet.step(NOON + GONE + timedelta(seconds=2))
    assert fleet.state(benchmark) == "done"


def test_a_device_that_says_nothing_in_time_is_given_up_and_with_no_other_left_the_benchmark_fails(
    fleet: Fleet,
) -> None:
    benchmark = fleet.begin(classes=(PIS,))
    fleet.step(NOON + timedelta(seconds=600) + GRACE)
    assert fleet.state(benchmark) == "running"
    fleet.step(NOON + timedelta(seconds=601) + GRACE)
    assert (fleet.state(benchmark), fleet.outcomes(benchmark)) == ("failed", {fleet.pi: "expired"})
    assert any(f"measured on 0 of 1 classes, not on {PI_CLASS}" in one for one in fleet.events())


def test_what_a_given_up_device_has_measured_counts_while_the_benchmark_runs(sqlite_fleet: Fleet) -> None:
    benchmark = sqlite_fleet.begin()
    first, second, _ = sqlite_fleet.ids
    sqlite_fleet.vanish(first)
    sqlite_fleet.step(NOON + GONE + timedelta(seconds=1))
    sqlite_fleet.tell(first, benchmark)
    assert sqlite_fleet.outcomes(benchmark) == {first: "done", second: "open"}


def test_the_only_device_of_a_class_is_waited_for_while_it_is_away(fleet: Fleet) -> None:
    """It reboots for longer than a device is waited for where another one can be asked."""
    benchmark = fleet.begin(classes=(PIS,))
    fleet.vanish(fleet.pi)
    away = NOON + timedelta(seconds=400)
    fleet.step(away)
    assert (fleet.state(benchmark), fleet.outcomes(benchmark)) == ("running", {fleet.pi: "open"})
    assert benchmark in fleet.wanted(fleet.pi), "what it has measured stays there"
    fleet.come_back(fleet.pi, away)
    fleet.tell(fleet.pi, benchmark, away)
    fleet.step(away)
    assert fleet.state(benchmark) == "done"


def test_of_a_class_that_is_away_as_a_whole_the_first_that_is_back_is_asked(fleet: Fleet) -> None:
    fleet.vanish(fleet.pi)
    benchmark = fleet.begin(classes=(PIS,))
    assert (fleet.state(benchmark), fleet.outcomes(benchmark)) == ("running", {})
    back = NOON + timedelta(seconds=500)
    fleet.step(back)
    assert fleet.outcomes(benchmark) == {}
    fleet.come_back(fleet.pi, back)
    fleet.step(back)
    assert fleet.outcomes(benchmark) == {fleet.pi: "open"}


def test_a_class_that_stays_away_is_waited_for_as_long_as_a_device_has(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.vanish(sqlite_fleet.pi)
    benchmark = sqlite_fleet.begin(classes=(PIS,))
    sqlite_fleet.step(NOON + timedelta(seconds=600))
    assert sqlite_fleet.state(benchmark) == "running"
    sqlite_fleet.step(NOON + timedelta(seconds=601))
    assert sqlite_fleet.state(benchmark) == "failed"


def test_a_device_that_had_disappeared_is_asked_again_where_the_other_one_fails(sqlite_fleet: Fleet) -> None:
    first, second, third = sqlite_fleet.ids
    sqlite_fleet.vanish(third)
    benchmark = sqlite_fleet.begin()
    sqlite_fleet.vanish(first)
    later = NOON + GONE + timedelta(seconds=1)
    sqlite_fleet.step(later)
    sqlite_fleet.tell(second, benchmark, later, outcome="failed", measured=())
    sqlite_fleet.step(later)
    assert sqlite_fleet.state(benchmark) == "running"
    sqlite_fleet.come_back(first, later)
    sqlite_fleet.step(later)
    assert sqlite_fleet.outcomes(benchmark) == {first: "open", second: "failed"}
    assert sqlite_fleet.wanted(first)[benchmark].deadline_at == NOON + timedelta(seconds=600)


def test_once_one_has_measured_nobody_waits_for_those_that_are_away(sqlite_fleet: Fleet) -> None:
    first, second, third = sqlite_fleet.ids
    sqlite_fleet.vanish(third)
    benchmark = sqlite_fleet.begin(2)
    sqlite_fleet.tell(first, benchmark)
    sqlite_fleet.vanish(second)
    sqlite_fleet.step(NOON + GONE + timedelta(seconds=1))
    assert (sqlite_fleet.state(benchmark), sqlite_fleet.outcomes(benchmark)) == (
        "done",
        {first: "done", second: "gone"},
    )


def test_devices_of_one_board_in_two_classes_measure_for_each(fleet: Fleet) -> None:
    """They have other runtimes, or serve other files."""
    other = fleet.ids[2]
    with fleet.hub.database.transaction() as session:
        apply_reported(session, other, make_report(sequence=2, targets=("edge-onnx-int8",)), NOON)
    edge = BoardClass(BOARD, "edge")
    benchmark = fleet.begin(classes=(BOARDS, edge))
    assert fleet.outcomes(benchmark) == {fleet.ids[0]: "open", other: "open"}
    fleet.tell(other, benchmark)
    fleet.step(NOON + timedelta(seconds=601) + GRACE)
    fleet.step(NOON + timedelta(seconds=602) + GRACE)
    assert any(f"measured on 1 of 2 classes, not on {BOARD}" in one for one in fleet.events()) is False
    assert fleet.outcomes(benchmark) == {fleet.ids[0]: "expired", other: "done", fleet.ids[1]: "open"}


def test_what_a_device_measured_before_its_deadline_counts(sqlite_fleet: Fleet) -> None:
    benchmark = sqlite_fleet.begin(classes=(PIS,))
    late = NOON + timedelta(seconds=601) + GRACE
    spread = LatencySpread(p25=1.0, p50=1.0, p75=1.0, p95=1.0, runs=3)
    one = CandidateMeasured(name="source", sha256=sqlite_fleet.files["source"], latency_ms=spread, samples=100)
    sqlite_fleet.tell(sqlite_fleet.pi, benchmark, late, outcome="expired", measured=(one,))
    sqlite_fleet.step(late)
    assert (sqlite_fleet.state(benchmark), sqlite_fleet.outcomes(benchmark)) == ("done", {sqlite_fleet.pi: "expired"})


def test_of_a_large_fleet_only_devices_of_the_board_are_read(
    sqlite_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a device reports has kilobytes."""
    read: list[str] = []

    def note(device_id: str, *columns: Any) -> Any:
        read.append(device_id)
        return _device(device_id, *columns)

    monkeypatch.setattr("shoal_hub.benchmarks.device_classes._device", note)
    benchmark = sqlite_fleet.begin(classes=(PIS,))
    sqlite_fleet.step(NOON)
    sqlite_fleet.step(NOON)
    assert (read, sqlite_fleet.state(benchmark)) == ([sqlite_fleet.pi], "running")


def test_where_too_few_are_there_others_are_looked_for_every_now_and_then(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.vanish(sqlite_fleet.pi)
    benchmark = sqlite_fleet.begin(classes=(PIS,))
    offers = BenchmarkOffers(sqlite_fleet.hub.database)
    offers.step(NOON)
    sqlite_fleet.come_back(sqlite_fleet.pi, NOON)
    offers.step(NOON + LOOK / 2)
    assert (sqlite_fleet.state(benchmark), sqlite_fleet.outcomes(benchmark)) == ("running", {})
    offers.step(NOON + LOOK)
    assert sqlite_fleet.outcomes(benchmark) == {sqlite_fleet.pi: "open"}


def test_a_board_s_name_stands_for_itself(sqlite_fleet: Fleet) -> None:
    """An underscore or a percent sign is none that stands for others, and a revision is left out."""
    with sqlite_fleet.hub.database.session() as session:
        found = [one.id for one in devices_like(session, PIS, (), is_online=True)]
        nothing = list(devices_like(session, BoardClass("Raspberry_Pi% (aarch64)", "pi4"), (), is_online=True))
    assert (found, nothing) == ([sqlite_fleet.pi], [])


def test_a_result_that_comes_while_its_device_is_given_up_is_not_lost(fleet: Fleet) -> None:
    """Who takes the result waits for who gives the device up, and then sees that it was."""
    benchmark = fleet.begin(classes=(PIS,))
    late = NOON + timedelta(seconds=601) + GRACE
    teller = threading.Thread(target=fleet.tell, args=(fleet.pi, benchmark, late))
    with fleet.hub.database.transaction() as session:
        row = session.get_one(Benchmark, benchmark, with_for_update=True)
        [offered] = devices_of(session, benchmark)
        teller.start()
        teller.join(0.5)
        assert teller.is_alive(), "it waits"
        close_device(session, offered, "expired", late)
        session.add(row)
    teller.join(10.0)
    assert fleet.outcomes(benchmark) == {fleet.pi: "done"}


def test_a_repeated_result_changes_nothing(sqlite_fleet: Fleet) -> None:
    benchmark = sqlite_fleet.begin()
    first = sqlite_fleet.ids[0]
    sqlite_fleet.tell(first, benchmark)
    sqlite_fleet.tell(first, benchmark, outcome="failed", measured=())
    sqlite_fleet.step(NOON)
    sqlite_fleet.tell(first, benchmark, outcome="failed", measured=())
    assert sqlite_fleet.outcomes(benchmark) == {first: "done"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: one.model_copy(update={"name": "other"}), "other with the hash"),
        (lambda one: one.model_copy(update={"sha256": SHA}), "was not asked for"),
        (lambda one: one.model_copy(update={"samples": 10**6}), "answered 1000000 samples, 100 were sent"),
    ],
)
def test_what_was_not_asked_is_refused_and_another_device_is_asked(sqlite_fleet: Fleet, change: Any, says: str) -> None:
    benchmark = sqlite_fleet.begin()
    first, second, _ = sqlite_fleet.ids
    spread = LatencySpread(p25=1.0, p50=1.0, p75=1.0, p95=1.0, runs=3)
    good = CandidateMeasured(name="source", sha256=sqlite_fleet.files["source"], latency_ms=spread, samples=100)
    sqlite_fleet.tell(first, benchmark, measured=(change(good),))
    sqlite_fleet.step(NOON)
    assert sqlite_fleet.outcomes(benchmark) == {first: "failed", second: "open"}
    assert any(says in one for one in sqlite_fleet.events())


def test_a_result_of_a_benchmark_that_a_device_was_not_given_is_dropped_with_an_event(sqlite_fleet: Fleet) -> None:
    benchmark = sqlite_fleet.begin()
    sqlite_fleet.tell(sqlite_fleet.pi, benchmark)
    assert sqlite_fleet.outcomes(benchmark) == {sqlite_fleet.ids[0]: "open"}
    assert any("which it was not given" in one for one in sqlite_fleet.events())


def test_a_benchmark_without_room_in_a_state_is_refused(sqlite_fleet: Fleet) -> None:
    wide = tuple(TensorSpec(name=f"{n:03}" * 40, datatype="FP32", shape=(1,) * 8) for n in range(16))
    long = tuple(
        BenchmarkCandidate(name=f"{n}-" + "x" * 60, runtime="onnxruntime", sha256=SHA, size_bytes=1) for n in range(16)
    )
    sqlite_fleet.body = sqlite_fleet.body.model_copy(
        update={"inputs": wide * 4, "outputs": wide * 4, "candidates": long}
    )
    with pytest.raises(InvalidInputError, match="at most 16384 have room in a state"):
        sqlite_fleet.begin()


def test_devices_are_grouped_by_what_they_run_and_what_they_are(sqlite_fleet: Fleet) -> None:
    assert target_class(("generic-onnx-int8", "pi4-litert-int8")) == "pi4"
    assert target_class(("jetson-orin-onnx-fp16", "generic-onnx-int8")) == "jetson-orin"
    assert target_class(("generic-litert-float32",)) == "generic"
    assert target_class(()) == ""
    with sqlite_fleet.hub.database.session() as session:
        found = {one.id: (one.target_class, one.hardware) for one in class_devices(session)}
    assert found[sqlite_fleet.pi] == ("pi4", PI_CLASS)
    assert found[sqlite_fleet.ids[0]] == ("generic", BOARD)
