"""What a version is going to take of each device's uplink, by what the device reports and where it stands."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session, select
from tests.simulators.rows import NOON, add_device, add_version, make_report

from shoal_contract.ids import sha256_hex
from shoal_contract.ledger import LedgerTotals, Traffic
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.reported import ModelReport, SlotReport
from shoal_contract.transfer import chunk_bytes_for
from shoal_contract.wire_bytes import artifact_cost
from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Device
from shoal_hub.jobs.queue import enqueue
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.sites.membership import Layout, create_site
from shoal_hub.traffic import forecast
from shoal_hub.traffic.forecast import Budget, Forecast, Receiver, budgets_of, forecast_bytes
from shoal_hub.traffic.limits import Limits, set_limits
from shoal_hub.traffic.take import take_totals
from shoal_hub.transfer.leases import take_leases
from shoal_hub.transfer.tables import Delta

TARGET = "generic-onnx-int8"
FILES = {number: bytes([number]) * 300_000 for number in (1, 2)}


class World:
    """Two versions, and devices that run the first."""

    def __init__(self, session: Session, hub: HubContext) -> None:
        self.session = session
        self.versions = {n: add_version(session, hub.artifacts, n, {TARGET: data}) for n, data in FILES.items()}

    def add(self, runs: int | None = 1, **report: Any) -> Device:
        models = {}
        if runs is not None:
            sha256 = sha256_hex(FILES[runs])
            slot = SlotReport(version=runs, target=TARGET, sha256=sha256, state="good")
            models = {"digits": ModelReport(active=slot)}
        reported = make_report(**({"models": models} | report)).model_dump(mode="json")
        return add_device(self.session, reported=reported)

    def forecast(self, *devices: Device, version: int = 2, budget_bytes: int | None = None) -> list[Forecast]:
        """Forecast what devices take, each told after the one before it."""
        found: Version = self.versions[version]
        receivers = [
            Receiver(one.id, TARGET if TARGET in (one.reported or {})["targets"] else "", one.reported or {}, wave)
            for wave, one in enumerate(devices)
        ]
        return forecast_bytes(self.session, found, receivers, retained_budget_bytes=budget_bytes)

    def add_delta(self, size_bytes: int) -> None:
        self.versions[1].manifest_sha256 = "a" * 64  # it has been rolled out
        job = enqueue(self.session, "delta", "models/digits/2", {}, by="ada")
        row = Delta(
            base_sha256=sha256_hex(FILES[1]), result_sha256=sha256_hex(FILES[2]), state="made", job_id=job.id,
            artifact_sha256=sha256_hex(FILES[1]), sha256="d" * 64, size_bytes=size_bytes,
        )  # fmt: skip
        self.session.add(row)
        self.session.flush()


@pytest.fixture
def in_world(hub: HubContext) -> Callable[[Callable[[World], None]], None]:
    def run(check: Callable[[World], None]) -> None:
        with hub.database.transaction() as session:
            check(World(session, hub))

    return run


InWorld = Callable[[Callable[[World], None]], None]


def test_a_whole_file_takes_its_bytes_and_what_the_device_will_count_beside_them(in_world: InWorld) -> None:
    def check(world: World) -> None:
        (one,) = world.forecast(world.add())
        cost = artifact_cost(sha256_hex(FILES[2]), 300_000, chunk_bytes_for(300_000)).total_bytes
        assert (one.way, one.file_bytes, one.uplink_bytes) == ("broker", 300_000, cost)
        assert 300_000 < cost < 1.08 * 300_000

    in_world(check)


def test_the_cost_of_a_file_is_counted_once_and_not_for_each_device(
    in_world: InWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted chunk by chunk, inside the transaction that starts a rollout."""
    counted: list[int] = []

    def spy(name: str, place: int) -> None:
        real = getattr(forecast, name)

        def count(*args: Any) -> Traffic:
            counted.append(args[place])
            cost: Traffic = real(*args)
            return cost

        monkeypatch.setattr(forecast, name, count)

    spy("artifact_cost", 1)
    spy("ranges_cost", 0)

    def check(world: World) -> None:
        for budget_bytes in (None, 0):
            counted.clear()
            take_leases(world.session, "rollout/r-1", [sha256_hex(FILES[2])], NOON)
            found = world.forecast(*(world.add() for _ in range(5)), budget_bytes=budget_bytes)
            assert len({(one.way, one.uplink_bytes) for one in found}) == 1
            assert counted.count(300_000) <= 1, "no more often than there are files"

    in_world(check)


def test_a_delta_counts_for_devices_that_run_its_base_alone(in_world: InWorld) -> None:
    def check(world: World) -> None:
        world.add_delta(20_000)
        from_base, fresh = world.forecast(world.add(), world.add(runs=None))
        assert (from_base.way, from_base.file_bytes) == ("delta", 20_000)
        assert (fresh.way, fresh.file_bytes) == ("broker", 300_000)

    in_world(check)


def test_what_is_there_already_or_can_not_run_takes_nothing(in_world: InWorld) -> None:
    def check(world: World) -> None:
        there, unable = world.forecast(world.add(runs=2), world.add(targets=("pi4-litert-int8",)))
        assert (there.way, there.uplink_bytes, there.sha256) == ("none", 0, sha256_hex(FILES[2]))
        assert (unable.way, unable.uplink_bytes, unable.sha256) == ("none", 0, None)

    in_world(check)


def test_members_of_a_site_whose_cache_has_the_file_take_nothing_of_their_uplink_for_it(in_world: InWorld) -> None:
    def check(world: World) -> None:
        cache, member, elsewhere = world.add(runs=2), world.add(), world.add()
        create_site(world.session, "lan", Layout(cache.id, "10.0.0.1", 8471, {member.id}), by="ada", now=NOON)
        from_lan, over_broker = world.forecast(member, elsewhere)
        assert (from_lan.way, from_lan.file_bytes, from_lan.uplink_bytes) == ("cache", 300_000, 0)
        assert over_broker.way == "broker"
        (there,) = world.forecast(member, version=1)
        assert there.way == "none"

    in_world(check)


def test_a_cache_that_is_told_before_its_members_serves_them(in_world: InWorld) -> None:
    def check(world: World) -> None:
        cache, member = world.add(), world.add()
        create_site(world.session, "lan", Layout(cache.id, "10.0.0.1", 8471, {member.id}), by="ada", now=NOON)
        assert [one.way for one in world.forecast(cache, member)] == ["broker", "cache"]
        assert [one.way for one in world.forecast(member, cache)] == ["broker", "broker"]
        assert [one.way for one in world.forecast(member)] == ["broker"]

    in_world(check)


def test_what_the_broker_has_no_room_for_is_counted_over_https(in_world: InWorld) -> None:
    def check(world: World) -> None:
        device = world.add()
        take_leases(world.session, "rollout/r-1", [sha256_hex(FILES[2])], NOON)
        world.session.flush()
        for budget_bytes, way in ((299_999, "https"), (300_000, "broker")):
            assert [one.way for one in world.forecast(device, budget_bytes=budget_bytes)] == [way]

    in_world(check)


def test_the_month_s_budget_says_what_waits_and_until_when() -> None:
    budget = Budget(limit_bytes=1000, left_bytes=400)
    assert (budget.holds(400), budget.until(400, NOON)) == (False, NOON)
    assert (budget.holds(401), budget.until(401, NOON)) == (True, datetime(2026, 2, 1, tzinfo=UTC))
    assert (budget.holds(1001), budget.until(1001, NOON)) == (True, None)


def test_what_is_too_large_for_the_broker_is_counted_over_https(in_world: InWorld) -> None:
    def check(world: World) -> None:
        for row in world.session.exec(select(VariantRow)).all():
            row.size_bytes = MAX_ARTIFACT_BYTES + 1
            world.session.add(row)
        world.session.flush()
        (one,) = world.forecast(world.add(runs=None))
        assert one.way == "https"
        assert MAX_ARTIFACT_BYTES < one.uplink_bytes < 1.07 * MAX_ARTIFACT_BYTES

    in_world(check)


def test_what_the_month_s_budget_does_not_allow_is_said_before(in_world: InWorld) -> None:
    def check(world: World) -> None:
        device, free = world.add(), world.add()
        limits = Limits(max_bytes_per_month=1_000_000)
        set_limits(world.session, "devices", device.id, limits, by="ada", now=NOON)
        spent = LedgerTotals(stream=1, months={"2026-01": {"control": Traffic(sent_bytes=600_000)}})
        take_totals(world.session, {device.id: [spent]}, NOON)
        world.session.flush()
        (needed,) = {one.uplink_bytes for one in world.forecast(device, free)}
        budgets = budgets_of(world.session, {device.id: "", free.id: ""}, NOON)
        assert budgets == {device.id: Budget(1_000_000, 400_000)}
        assert not budgets[device.id].holds(needed)
        more = LedgerTotals(stream=1, months={"2026-01": {"control": Traffic(sent_bytes=800_000)}})
        take_totals(world.session, {device.id: [more]}, NOON)
        world.session.flush()
        assert budgets_of(world.session, {device.id: ""}, NOON)[device.id].holds(needed)

    in_world(check)
