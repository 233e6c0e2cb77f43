"""Maintenance windows in local time, and policies that contradict themselves."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shoal_contract.update_policy import WEEKDAYS, MaintenanceWindow, UpdatePolicy

SATURDAY = datetime(2026, 2, 28)  # noqa: DTZ001 - a wall clock
NIGHT = MaintenanceWindow(days=("sat",), start="22:30", minutes=240)


@pytest.mark.parametrize(
    ("hours", "is_open"),
    [
        (22.4, False),
        (22.5, True),
        (23.9, True),
        (24.0, True),
        (26.49, True),
        (26.5, False),
        (-1.0, False),
        (46.5, False),
    ],
)
def test_a_window_begins_on_its_days_and_may_pass_midnight(hours: float, is_open: bool) -> None:
    assert NIGHT.holds(SATURDAY + timedelta(hours=hours)) is is_open


def test_the_wall_clock_counts_whatever_the_offset() -> None:
    at = SATURDAY + timedelta(hours=23)
    for zone in (ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York"), timezone.utc):
        assert NIGHT.holds(at.replace(tzinfo=zone))


@given(
    at=st.datetimes(min_value=datetime(2000, 1, 2), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    minutes=st.integers(1, 24 * 60),
)
def test_a_daily_window_is_open_for_its_share_of_each_day(at: datetime, hour: int, minute: int, minutes: int) -> None:
    window = MaintenanceWindow(start=f"{hour:02d}:{minute:02d}", minutes=minutes)
    begun = (at.hour * 60 + at.minute - hour * 60 - minute) % (24 * 60)
    assert window.holds(at) is (begun < minutes)


def test_no_window_stands_for_always() -> None:
    assert UpdatePolicy().is_open(SATURDAY)
    assert not UpdatePolicy(windows=(NIGHT,)).is_open(SATURDAY)
    assert UpdatePolicy(windows=(NIGHT, MaintenanceWindow(start="00:00", minutes=1))).is_open(SATURDAY)


def test_a_policy_that_can_never_be_met_is_none() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    with pytest.raises(ValidationError, match="asks for windows"):
        UpdatePolicy(fetch_in_window=True)
    with pytest.raises(ValidationError, match="may not serve before"):
        UpdatePolicy(activate_at=noon, expires_at=noon)


@pytest.mark.parametrize("start", ["24:00", "7:00", "12:60", "12.00", ""])
def test_a_start_is_a_time_of_day(start: str) -> None:
    with pytest.raises(ValidationError, match="start"):
        MaintenanceWindow(days=WEEKDAYS, start=start, minutes=60)
