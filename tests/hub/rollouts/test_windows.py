"""When a device may next activate, in its own time zone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.update_policy import WEEKDAYS, MaintenanceWindow, UpdatePolicy
from shoal_hub.rollouts.windows import find_zone, next_opening

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)  # a Thursday
NIGHT = UpdatePolicy(windows=(MaintenanceWindow(start="02:00", minutes=60),))


@pytest.mark.parametrize(
    ("zone", "hours"),
    [("Europe/Berlin", 13), ("+01:00", 13), ("-05:00", 19), ("Asia/Kolkata", 8.5), ("+14:00", 0)],
)
def test_the_next_window_is_counted_in_the_devices_time_zone(zone: str, hours: float) -> None:
    found = find_zone(zone)
    assert found is not None
    assert next_opening(NIGHT, found, NOON) == NOON + timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "Nowhere/Town", "../../etc/passwd", "+99:00", "Europe", "\x00"])
def test_what_names_no_time_zone_is_none(text: str) -> None:
    assert find_zone(text) is None


def test_a_window_on_certain_days_and_one_after_a_time_are_waited_for() -> None:
    monday = UpdatePolicy(windows=(MaintenanceWindow(days=("mon",), start="02:00", minutes=60),))
    assert next_opening(monday, UTC, NOON) == datetime(2026, 1, 5, 2, tzinfo=UTC)
    at = datetime(2026, 1, 5, 2, 30, tzinfo=UTC)
    for policy in (NIGHT, monday):
        assert next_opening(policy.model_copy(update={"activate_at": at}), UTC, NOON) == at
    assert next_opening(UpdatePolicy(activate_at=at), UTC, NOON) == at
    assert next_opening(UpdatePolicy(), UTC, NOON) == NOON


_windows = st.builds(
    MaintenanceWindow,
    days=st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7, unique=True).map(tuple),
    start=st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59)),
    minutes=st.integers(1, 24 * 60),
)


@given(st.lists(_windows, min_size=1, max_size=3), st.integers(0, 10**6), st.integers(-12 * 60, 14 * 60))
def test_it_is_open_then_and_at_no_minute_before(
    windows: list[MaintenanceWindow], minutes: int, offset_minutes: int
) -> None:
    policy, zone = UpdatePolicy(windows=tuple(windows)), timezone(timedelta(minutes=offset_minutes))
    now = NOON + timedelta(minutes=minutes)
    opens_at = next_opening(policy, zone, now)
    assert policy.is_open(opens_at.astimezone(zone))
    before = int((opens_at - now) / timedelta(minutes=1))
    assert not any(policy.is_open((now + timedelta(minutes=one)).astimezone(zone)) for one in range(before))
