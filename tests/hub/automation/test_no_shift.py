"""A fleet that does not drift, window after window through the hub's own intake: no policy ever does anything."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlmodel import func, select
from tests.hub.automation.loops import MODEL, Loop
from tests.hub.automation.policies import TELL, body
from tests.hub.monitoring.test_drift import sketch

from shoal_agent.monitor.weighing import Weighing, watched_of
from shoal_contract.manifest import Baseline
from shoal_hub.automation.policies import set_policy
from shoal_hub.automation.policy import Policy
from shoal_hub.monitoring.evidence import EvidenceWatch
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.monitoring.tables import DriftSignal, QuarantinedWindow, WindowRow
from shoal_hub.monitoring.windows import take_window
from shoal_hub.registry.tables import Version
from shoal_numerics import Histogram

POLICIES: dict[str, Any] = {
    "drift-plain": {"kind": "drift", "rule": "plain"},
    "drift-controlled": {"kind": "drift", "rule": "controlled"},
    "accuracy": {"kind": "accuracy_drop", "below": 0.9, "over_s": 3600, "min_labels": 100},
    "accuracy-drop": {"kind": "accuracy_drop", "drop": 0.1, "over_s": 3600, "min_labels": 100},
}
SAMPLES, LABELLED = 120, 20


class Stream:
    """Windows of a fleet as agents make them: sketches, labels, and the evidence that each device weighs itself."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.random = loop, np.random.default_rng(11)
        with loop.hub.database.session() as session:
            self.baseline = Baseline.model_validate(session.exec(select(Version)).one().baseline)
        self.reference = reference_of(self.baseline)
        watched = watched_of(self.baseline, self.reference.edges)
        assert watched is not None
        self.watched = watched
        self.weighing = {device_id: Weighing() for device_id in loop.devices}
        self.evidence = EvidenceWatch(loop.hub.database)

    def send(self, device_id: str, *, is_shifted: bool = False) -> None:
        rows = self.random.normal(size=(SAMPLES, 4)).astype(np.float32)
        rows = rows * 0.3 + 1.5 if is_shifted else rows
        counted = Histogram.of(self.reference.edges, rows)
        told = self.weighing[device_id].weigh((MODEL, 1, ""), self.watched, counted)
        right = int(self.random.binomial(LABELLED, 0.5 if is_shifted else 0.97))
        now = self.loop.now
        window = sketch(
            self.baseline,
            rows,
            started_at=now - timedelta(seconds=60),
            ended_at=now,
            labelled=LABELLED,
            correct=right,
            evidence=told,
        )
        with self.loop.hub.database.transaction() as session:
            take_window(session, device_id, window, now)

    def round(self, *, shifted: frozenset[str] = frozenset()) -> None:
        """Have each device send a window of a minute, and the controller look."""
        for device_id in self.loop.devices:
            self.send(device_id, is_shifted=device_id in shifted)
        self.evidence.step(self.loop.now)
        self.loop.step(60)


@pytest.fixture
def stream(sqlite_loop: Loop) -> Stream:
    with sqlite_loop.hub.database.transaction() as session:
        for name, when in POLICIES.items():
            policy = Policy.model_validate(body(name=name, model=MODEL, when=when, then=[TELL]))
            set_policy(session, policy, by=sqlite_loop.author, now=sqlite_loop.now)
    return Stream(sqlite_loop)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_windows_without_a_shift_begin_no_run(stream: Stream) -> None:
    loop = stream.loop
    for _ in range(334):
        stream.round()
    with loop.hub.database.session() as session:
        assert session.exec(select(func.count()).select_from(WindowRow)).one() >= 1000
        assert session.exec(select(QuarantinedWindow)).all() == []
        assert session.exec(select(DriftSignal)).all() == []
    assert loop.runs() == []
    assert {one.outcome for one in loop.decisions()} == {"quiet"}
    assert {one.policy for one in loop.decisions()} == set(POLICIES)


@pytest.mark.slow
def test_the_same_stream_with_a_shift_on_one_device_begins_a_run_of_each_policy(stream: Stream) -> None:
    loop = stream.loop
    for _ in range(40):
        stream.round()
    assert loop.runs() == []
    shifted = frozenset(loop.devices[:1])
    for _ in range(40):
        stream.round(shifted=shifted)
        if len(loop.runs()) == len(POLICIES):
            break
    assert {run.policy for run in loop.runs()} == set(POLICIES)
    drifted = [run for run in loop.runs() if run.policy.startswith("drift")]
    named = [run.trigger["conditions"][0]["facts"] for run in drifted]
    assert all(one["devices"] == loop.devices[:1] for one in named)
    assert all(one["features"] for one in named)
