"""When an update may begin and end, and how often it is tried: laws over any time and policy."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.engines import EngineError, GoldenMismatchError
from shoal_agent.errors import (
    ArtifactError,
    EndedError,
    ExpiredError,
    FetchError,
    LinkError,
    NoRoomError,
    ProbeError,
    ProbeSetupError,
    WaitingError,
)
from shoal_agent.hold import Hold
from shoal_agent.update_rules import (
    Moment,
    check_activation,
    check_expiry,
    check_fetch,
    kind_of,
    open_for,
    open_s,
    starts_allowed,
    wait_after,
)
from shoal_contract.update_policy import WEEKDAYS, MaintenanceWindow, Retry, UpdatePolicy

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)  # a Saturday
times = st.datetimes(datetime(2026, 11, 2), datetime(2027, 4, 30))  # noqa: DTZ001 - wall clocks of any zone
windows = st.builds(
    MaintenanceWindow,
    days=st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7, unique=True).map(tuple),
    start=st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)),
    minutes=st.integers(1, 1440),
)


def at(now: datetime, hold: Hold | None = None, zone: str = "UTC") -> Moment:
    return Moment(now, now.astimezone(ZoneInfo(zone)), hold)


def waits_for(policy: UpdatePolicy, moment: Moment, *, is_bad: bool = False) -> str:
    """Return for what an activation waits; empty if it may go on."""
    try:
        check_activation(policy, moment, "tiny version 2", is_bad=is_bad)
    except WaitingError as error:
        return error.step if 0 <= error.wait_s <= moment.recheck_s else "longer than it should"
    return ""


def test_a_window_is_in_the_device_s_own_time() -> None:
    night = UpdatePolicy(windows=(MaintenanceWindow(start="22:00", minutes=60),))
    moment = NOON.replace(hour=13, minute=30)
    assert waits_for(night, at(moment, zone="Asia/Tokyo")) == ""  # 22:30 there
    assert waits_for(night, at(moment, zone="Europe/Paris")) == "window"
    with pytest.raises(WaitingError, match=r"22:00 for 60 min.*time zone is CET"):
        check_activation(night, at(moment, zone="Europe/Paris"), "tiny version 2", is_bad=False)


def test_a_veto_comes_before_everything_else_and_says_why() -> None:
    held = at(NOON, Hold(reason="stocktaking"))
    assert waits_for(UpdatePolicy(activate_at=NOON + timedelta(hours=1)), held) == "veto"
    with pytest.raises(WaitingError, match="stocktaking") as waiting:
        check_activation(UpdatePolicy(), held, "tiny version 2", is_bad=False)
    assert "shoal-agent release" in waiting.value.remedy


def test_a_veto_does_not_protect_what_can_not_serve() -> None:
    assert waits_for(UpdatePolicy(), at(NOON, Hold()), is_bad=True) == ""


def test_it_serves_at_its_time_and_not_before() -> None:
    policy = UpdatePolicy(activate_at=NOON)
    assert waits_for(policy, at(NOON - timedelta(seconds=3))) == "activate_at"
    assert waits_for(policy, at(NOON)) == ""
    with pytest.raises(WaitingError) as waiting:
        check_activation(policy, at(NOON - timedelta(seconds=3)), "it", is_bad=False)
    assert waiting.value.wait_s == 3.0, "it looks again just then"


def test_it_is_fetched_in_a_window_only_if_the_policy_says_so() -> None:
    night = (MaintenanceWindow(start="22:00", minutes=60),)
    check_fetch(UpdatePolicy(windows=night), at(NOON), "it")
    with pytest.raises(WaitingError, match="fetching it waits for a maintenance window"):
        check_fetch(UpdatePolicy(windows=night, fetch_in_window=True), at(NOON), "it")


@given(st.lists(windows, min_size=1, max_size=3).map(tuple), times)
def test_a_window_s_end_is_where_it_first_is_no_longer_open(
    held: tuple[MaintenanceWindow, ...], wall: datetime
) -> None:
    policy = UpdatePolicy(windows=held)
    left = open_for(policy, wall)
    if left is None:
        assert all(policy.is_open(wall + timedelta(hours=hour)) for hour in range(7 * 24))
        return
    assert (left > timedelta(0)) == policy.is_open(wall)
    assert not policy.is_open(wall + left)
    assert all(policy.is_open(wall + left * share / 7) for share in range(7) if left)


def test_fetching_is_bounded_by_the_nearer_of_expiry_and_window() -> None:
    window = (MaintenanceWindow(start="12:00", minutes=60),)
    both = UpdatePolicy(windows=window, fetch_in_window=True, expires_at=NOON + timedelta(minutes=5))
    assert open_s(both, at(NOON)) == 300
    assert open_s(both.model_copy(update={"expires_at": None}), at(NOON)) == 3600
    assert open_s(UpdatePolicy(), at(NOON)) is None


def test_a_deployment_expires_at_its_time() -> None:
    policy = UpdatePolicy(expires_at=NOON)
    check_expiry(policy, NOON - timedelta(microseconds=1), "it")
    with pytest.raises(ExpiredError, match="2026-11-28 12:00:00 UTC"):
        check_expiry(policy, NOON, "it")


@given(st.integers(1, 100), st.floats(0, 86_400), st.integers(1, 120))
def test_tries_are_bounded_and_their_waits_grow(attempts: int, wait_s: float, failures: int) -> None:
    policy = UpdatePolicy(retries={"probe": Retry(attempts=attempts, wait_s=wait_s)})
    wait = wait_after(policy, "probe", failures)
    assert (wait is None) == (failures >= attempts)
    if wait is not None:
        before = wait_after(policy, "probe", failures - 1) if failures > 1 else 0.0
        assert before is not None
        assert before <= wait <= 86_400


def test_what_the_policy_does_not_name_is_tried_once() -> None:
    assert wait_after(UpdatePolicy(), "probe", 1) is None


def test_a_policy_can_lower_the_device_s_number_of_starts_and_never_raise_it() -> None:
    asks = UpdatePolicy(retries={"process": Retry(attempts=2)})
    assert starts_allowed(asks, 3) == 1
    assert starts_allowed(UpdatePolicy(retries={"process": Retry(attempts=50)}), 3) == 3
    assert starts_allowed(None, 3) == starts_allowed(UpdatePolicy(), 3) == 3


def test_failures_are_counted_by_what_they_are() -> None:
    errors = [
        FetchError("x"), NoRoomError("x"), EngineError("x"), GoldenMismatchError("x"), ProbeError("x"), EndedError("x"),
        LinkError("x"), ArtifactError("x"), ProbeSetupError("x"), ExpiredError("x"),
    ]  # fmt: skip
    kinds = [kind_of(error) for error in errors]
    assert kinds == ["fetch", "disk", "load", "self_test", "probe", "process", None, None, None, None]
