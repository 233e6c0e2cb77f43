"""The byte ledger: totals only grow, nothing is reported that is not on disk, and no power cut frees a budget."""

import json
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.clock import Clock
from shoal_agent.errors import DiskError
from shoal_agent.ledger import Ledger, LedgerReports
from shoal_agent.settings import LedgerSettings
from shoal_contract.ledger import CATEGORIES, ByteCategory, Traffic, uplink_bytes

NOON = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
SETTINGS = LedgerSettings(save_bytes=1000, reserve_bytes=500)
_AMOUNTS = st.builds(Traffic, received_bytes=st.integers(0, 10**9), sent_bytes=st.integers(0, 10**9))


class Device:
    """A data folder, a clock, and the ledgers that are opened on them one after the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.json"
        self.at = NOON
        self.begun = 0

    def open(self, settings: LedgerSettings = SETTINGS) -> Ledger:
        return Ledger(self.path, settings, lambda: self.at, self._begin)

    def _begin(self) -> int:
        self.begun += 1
        return self.begun


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@given(counts=st.lists(st.tuples(st.sampled_from(CATEGORIES), _AMOUNTS, st.sampled_from([0, 1])), max_size=30))
def test_counts_add_up_by_category_and_month_across_restarts(
    counts: list[tuple[ByteCategory, Traffic, int]],
) -> None:
    with TemporaryDirectory() as folder:
        device, expected = Device(Path(folder)), defaultdict[tuple[str, str], Traffic](Traffic)
        ledger = device.open()
        for index, (category, traffic, month) in enumerate(counts):
            device.at = NOON + timedelta(days=5 * month)
            ledger.count(category, traffic)
            key = ("2026-12" if month else "2026-11", category)
            expected[key] = expected[key].plus(traffic)
            if index % 7 == 0:
                ledger.close()
                ledger = device.open()
        ledger.close()
        found = device.open().totals().months
        assert {(month, name): one for month, of in found.items() for name, one in of.items()} == expected


def test_what_is_reported_is_on_disk_so_that_no_power_cut_lets_a_total_fall(device: Device) -> None:
    ledger = device.open()
    ledger.count("telemetry", Traffic(sent_bytes=999))
    ledger.save_if_due()
    assert ledger.totals().months == {}, "a little is not written yet, and so not told"
    ledger.count("telemetry", Traffic(sent_bytes=1))
    ledger.save_if_due()
    told = ledger.totals()
    assert told.months["2026-11"]["telemetry"].sent_bytes == 1000
    ledger.count("telemetry", Traffic(sent_bytes=500))
    assert ledger.totals() == told
    assert device.open().totals() == told


@given(
    steps=st.lists(st.one_of(st.integers(1, 3000), st.sampled_from(["cut", "stop"])), max_size=40),
)
def test_of_a_budget_no_power_cut_frees_anything_and_each_costs_a_bounded_amount(steps: list[int | str]) -> None:
    with TemporaryDirectory() as folder:
        device, spent, cuts, largest = Device(Path(folder)), 0, 0, 0
        ledger = device.open()
        for step in steps:
            if isinstance(step, int):
                ledger.reserve(step)
                ledger.count("artifacts_broker", Traffic(received_bytes=step))
                spent, largest = spent + step, max(largest, step)
                ledger.save_if_due()
            else:
                cuts += step == "cut"
                if step == "stop":
                    ledger.close()
                ledger = device.open()
            assert spent <= ledger.spent_bytes() <= spent + cuts * (SETTINGS.reserve_bytes + SETTINGS.save_bytes)


def test_what_comes_from_the_site_s_cache_spends_nothing(device: Device) -> None:
    ledger = device.open()
    ledger.count("artifacts_cache", Traffic(received_bytes=10**6))
    ledger.count("control", Traffic(received_bytes=3, sent_bytes=4))
    assert ledger.spent_bytes() == 7
    assert uplink_bytes({"artifacts_cache": Traffic(received_bytes=1)}) == 0


def test_a_month_begins_with_nothing_spent_and_an_earlier_one_is_found_again(device: Device) -> None:
    ledger = device.open()
    ledger.count("control", Traffic(sent_bytes=70))
    device.at = datetime(2026, 12, 1, tzinfo=timezone.utc)
    assert (ledger.month, ledger.spent_bytes()) == ("2026-12", 0)
    device.at = NOON
    assert ledger.spent_bytes() == 70


@pytest.mark.parametrize("years", [1, -1])
def test_a_system_clock_that_jumps_a_year_neither_frees_nor_doubles_the_month(years: int, tmp_path: Path) -> None:
    system = [NOON]
    clock = Clock(tmp_path / "clock.json", lambda: system[0], made_at=NOON)
    clock.learn(NOON, ["key"])
    clock.save()
    ledger = Ledger(tmp_path / "ledger.json", SETTINGS, lambda: clock.floor, lambda: 1)
    ledger.count("control", Traffic(sent_bytes=70))
    system[0] = NOON + timedelta(days=365 * years)
    clock.save()
    assert (ledger.month, ledger.spent_bytes()) == ("2026-11", 70)


def test_a_damaged_ledger_is_put_aside_and_the_next_has_a_later_name(device: Device) -> None:
    ledger = device.open()
    ledger.count("control", Traffic(sent_bytes=5000))
    ledger.close()
    device.path.write_bytes(b"{")
    after = device.open()
    after.count("control", Traffic(sent_bytes=1))
    after.close()
    assert after.totals().stream > ledger.totals().stream
    assert device.path.with_name("ledger.json.damaged").read_bytes() == b"{"


def test_a_disk_that_takes_nothing_reserves_nothing(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = device.open()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shoal_agent.ledger.ledger.replace_file", full)
    with pytest.raises(DiskError, match="byte ledger"):
        ledger.reserve(10_000)


def test_of_the_past_only_a_few_months_are_kept_and_two_are_told(device: Device) -> None:
    ledger = device.open()
    for days in range(0, 200, 30):
        device.at = NOON + timedelta(days=days)
        ledger.count("control", Traffic(sent_bytes=1))
        ledger.reserve(1)
    ledger.close()
    kept = json.loads(device.path.read_bytes())
    assert sorted(kept["months"]) == sorted(kept["reserved"]) == ["2027-03", "2027-04", "2027-05"]
    assert sorted(ledger.totals().months) == ["2027-04", "2027-05"]


def test_a_heartbeat_carries_the_ledger_on_a_new_connection_after_much_and_after_long(device: Device) -> None:
    ledger, clock_s = device.open(LedgerSettings(save_bytes=1, report_bytes=1000, report_s=600)), [0.0]
    reports = LedgerReports(ledger, LedgerSettings(report_bytes=1000, report_s=600), lambda: clock_s[0])
    assert reports.due(1) is None, "nothing has passed"

    def said(connection: int, size_bytes: int) -> bool:
        ledger.count("telemetry", Traffic(sent_bytes=size_bytes))
        totals = reports.due(connection)
        reports.told(connection, totals)
        return totals is not None

    assert said(1, 1)
    assert not said(1, 998), "the telling itself takes bytes"
    assert said(1, 2)
    assert not said(1, 1)
    assert said(2, 0)
    assert not said(2, 1)
    clock_s[0] = 600.0
    assert said(2, 0)
