"""A dry run over what the hub has kept says what would have begun, and agrees with what did."""

from datetime import timedelta
from typing import Any

import pytest
from tests.hub.automation.loops import MODEL, Loop
from tests.hub.automation.policies import TELL, body
from tests.hub.automation.test_no_shift import Stream

from shoal_hub.automation.dry_run import MAX_LOOKS, DryRun, dry_run
from shoal_hub.automation.policies import set_policy
from shoal_hub.automation.policy import Policy
from shoal_hub.errors import InvalidInputError


@pytest.fixture
def stream(loop: Loop) -> Stream:
    return Stream(loop)


def replay(loop: Loop, minutes: int, when: dict[str, Any], **guards: Any) -> DryRun:
    policy = Policy.model_validate(body(model=MODEL, when=when, then=[TELL], guards={"cool_down_s": 3600} | guards))
    with loop.hub.database.session() as session:
        return dry_run(session, policy, loop.now - timedelta(minutes=minutes), loop.now, 60.0)


def test_drift_is_replayed_from_the_windows_and_fires_where_the_policy_had_fired(stream: Stream) -> None:
    loop = stream.loop
    with loop.hub.database.transaction() as session:
        real = Policy.model_validate(body(model=MODEL, then=[TELL], guards={"cool_down_s": 3600}))
        set_policy(session, real, by=loop.author, now=loop.now)
    shifted = frozenset(loop.devices[:1])
    for minute in range(20):
        stream.round(shifted=shifted if minute >= 10 else frozenset())
    found = replay(loop, 20, {"kind": "drift", "rule": "plain"})
    [run] = loop.runs()
    [fired] = found.fired
    assert abs(fired.at - run.created_at) <= timedelta(minutes=1)
    assert "have drifted on 1 of 3 devices" in fired.reason
    assert found.held_back[0].guards == ["cool_down"]
    assert found.windows == 60
    assert len(loop.runs()) == 1, "nothing has begun by it"
    assert replay(loop, 20, {"kind": "drift", "rule": "plain", "min_devices": 2}).fired == []


def test_labels_and_data_are_replayed_as_they_came(stream: Stream) -> None:
    loop = stream.loop
    for minute in range(12):
        stream.round(shifted=frozenset(loop.devices if minute >= 6 else ()))
    low = replay(loop, 12, {"kind": "accuracy_drop", "below": 0.8, "over_s": 180, "min_labels": 100})
    assert len(low.fired) == 1
    assert low.fired[0].at > loop.now - timedelta(minutes=7)
    assert replay(loop, 12, {"kind": "new_labels", "min_labels": 10**6}).fired == []
    some = replay(loop, 12, {"kind": "new_labels", "min_labels": 300}, cool_down_s=0, budget={})
    assert len(some.fired) == 12 * 60 // 300, "a run begins the count anew"


def test_a_signal_by_evidence_stands_from_when_it_was_raised_until_it_was_cleared(loop: Loop) -> None:
    stream = Stream(loop)
    for _ in range(3):
        stream.round()
    loop.drift(*loop.devices[:2], rule="controlled")
    for _ in range(3):
        stream.round()
    loop.calm()
    for _ in range(3):
        stream.round()
    found = replay(loop, 10, {"kind": "drift", "rule": "controlled"}, cool_down_s=0, budget={"runs": 100})
    assert len(found.fired) == 3
    assert "nothing" not in found.fired[0].reason


def test_a_period_that_is_none_or_too_long_is_refused(sqlite_loop: Loop) -> None:
    with pytest.raises(InvalidInputError, match=f"1 to {MAX_LOOKS}"):
        replay(sqlite_loop, 0, {"kind": "drift"})
    with pytest.raises(InvalidInputError, match="give a shorter period"):
        replay(sqlite_loop, MAX_LOOKS + 1, {"kind": "drift"})
