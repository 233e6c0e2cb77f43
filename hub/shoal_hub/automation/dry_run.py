"""Replays what the hub has kept of a past period, and says when a policy would have begun a run; it changes nothing.

Windows, labels, captured samples and versions are as they were. Drift by the plain rule is decided anew from the
windows, as signals that are over name their devices no more; by the controlled rule the stored signals stand, as the
devices' evidence is not kept. A run that would have begun is taken to end at once: its cool-down begins then.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

from pydantic import BaseModel
from sqlmodel import Session, col, select

from shoal_contract.manifest import Baseline
from shoal_hub.automation.conditions import AccuracyWhen, DriftWhen
from shoal_hub.automation.decide import Decision, DriftFact, Facts, PastRun, decide
from shoal_hub.automation.model_facts import reference_accuracy, since_when
from shoal_hub.automation.policy import Policy
from shoal_hub.captures.tables import CaptureRow
from shoal_hub.errors import InvalidInputError
from shoal_hub.monitoring.drift import LOOKBACK, LOOKBACK_WINDOWS, RecentWindow, look_at, newest_enough
from shoal_hub.monitoring.sketches import Packed, reference_of
from shoal_hub.monitoring.tables import DriftSignal, WindowRow
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_model
from shoal_numerics import Histogram

MAX_LOOKS: Final = 5000
MAX_WINDOWS: Final = 20_000
_BEFORE: Final = timedelta(days=1)
"""Windows before the period that say what served at its beginning."""


class DryFire(BaseModel):
    """A run that would have begun."""

    at: datetime
    reason: str


class DryHold(BaseModel):
    """A stretch of looks at which a condition held and guards held it back."""

    since: datetime
    until: datetime
    looks: int
    guards: list[str]
    reason: str


class DryRun(BaseModel):
    """What a policy would have done in a past period."""

    policy: str
    since: datetime
    until: datetime
    looks: int
    windows: int
    """That were replayed."""
    fired: list[DryFire]
    held_back: list[DryHold]
    last: Decision
    """What the last look came to."""


def dry_run(session: Session, policy: Policy, since: datetime, until: datetime, every_s: float) -> DryRun:
    """Return what a policy would have done.

    Args:
        session: An open session, for reading.
        policy: The policy, whether it was set or not.
        since: The first look.
        until: The last one.
        every_s: Between two looks.

    Raises:
        NotFoundError: There is no such model.
        InvalidInputError: The period is none, or too long for so many looks or windows.
    """
    find_model(session, policy.model)
    looks = int((until - since).total_seconds() // every_s) + 1
    if since >= until or looks > MAX_LOOKS:
        raise InvalidInputError(
            f"replaying {since.isoformat()} to {until.isoformat()}: {max(looks, 0)} looks, 1 to {MAX_LOOKS} expected",
            "give a shorter period, or look less often: --every",
        )
    past = _Past.read(session, policy, since, until)
    fired: list[DryFire] = []
    held: list[DryHold] = []
    runs: list[PastRun] = []
    decision: Decision | None = None
    for at in (since + timedelta(seconds=every_s) * number for number in range(looks)):
        decision = decide(policy, past.facts(at, runs), runs, since, at)
        if decision.fires:
            fired.append(DryFire(at=at, reason=decision.reason))
            runs.append(PastRun(at, at, policy.rounds()))
        elif decision.is_wanted:
            _hold(held, decision, at, timedelta(seconds=every_s))
    if decision is None:
        raise InvalidInputError("replaying a period: no look lies in it", "give a longer period")
    return DryRun(
        policy=policy.name,
        since=since,
        until=until,
        looks=looks,
        windows=len(past.windows),
        fired=fired,
        held_back=held,
        last=decision,
    )


def _hold(held: list[DryHold], decision: Decision, at: datetime, every: timedelta) -> None:
    """Note that it was held back at a look; looks in a row with the same guards are one stretch."""
    guards = [one.name for one in decision.guards if not one.holds]
    if held and held[-1].guards == guards and at - held[-1].until <= every:
        held[-1] = held[-1].model_copy(update={"until": at, "looks": held[-1].looks + 1, "reason": decision.reason})
    else:
        held.append(DryHold(since=at, until=at, looks=1, guards=guards, reason=decision.reason))


@dataclass
class _Past:
    """What was kept of the period, and how far it has been gone through."""

    session: Session
    policy: Policy
    windows: list[WindowRow]
    captured_at: list[datetime]
    versions: list[tuple[datetime, int]]
    signals: Sequence[DriftSignal]
    references: dict[int, tuple[Histogram, list[bool]]]
    """By version: the baseline's counts, and which features are categories."""
    accuracies: dict[int, float | None]
    _next: int = 0
    _serving: dict[str, int] = field(default_factory=dict)
    """The version of each device's latest window."""
    _recent: dict[tuple[str, int], list[WindowRow]] = field(default_factory=dict)
    _drifted: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    """Features that lead, by device and version that drifts."""
    _raised: dict[int, datetime] = field(default_factory=dict)
    _labels: dict[int, tuple[list[datetime], list[int], list[int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, session: Session, policy: Policy, since: datetime, until: datetime) -> "_Past":
        """Read what was kept.

        Raises:
            InvalidInputError: There are more windows than one replay goes through.
        """
        model = policy.model
        lookback = max(
            [_BEFORE, *(timedelta(seconds=one.over_s) for one in policy.when if isinstance(one, AccuracyWhen))]
        )
        wanted = select(WindowRow).where(
            WindowRow.model == model,
            col(WindowRow.received_at) > since - lookback,
            col(WindowRow.received_at) <= until,
        )
        windows = list(
            session.exec(wanted.order_by(col(WindowRow.received_at), col(WindowRow.id)).limit(MAX_WINDOWS + 1))
        )
        if len(windows) > MAX_WINDOWS:
            raise InvalidInputError(
                f"replaying {since.isoformat()} to {until.isoformat()}: more than {MAX_WINDOWS} windows came",
                "give a shorter period: --since, --until",
            )
        captures = select(CaptureRow.received_at).where(CaptureRow.model == model, col(CaptureRow.received_at) <= until)
        versions = select(Version).where(Version.model == model).order_by(col(Version.created_at))
        found = list(session.exec(versions).all())
        drifts = any(isinstance(one, DriftWhen) for one in policy.when)
        signals = select(DriftSignal).where(DriftSignal.model == model, DriftSignal.rule == "controlled")
        past = cls(
            session,
            policy,
            windows,
            sorted(session.exec(captures).all()),
            [(row.created_at, row.number) for row in found],
            session.exec(signals).all() if drifts else (),
            {row.number: _reference(row) for row in found} if drifts else {},
            {row.number: reference_accuracy(session, model, row.number) for row in found},
        )
        past._sum_labels()
        return past

    def facts(self, at: datetime, runs: Sequence[PastRun]) -> Facts:
        """Return what was known at a time, which only moves forward."""
        self._go_to(at)
        counts = Counter(self._serving.values())
        champion = max(counts, key=lambda one: (counts[one], one), default=None)
        asked = {one.over_s for one in self.policy.when if isinstance(one, AccuracyWhen)}
        sums = {over_s: self._labelled(champion, at - timedelta(seconds=over_s), at) for over_s in asked}
        epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
        since = since_when([created for created, _ in self.versions if created <= at], runs, epoch)
        every = [self._labelled(number, since, at)[0] for number in self._labels]
        return Facts(
            champion=champion,
            serving=len(self._serving),
            drift=tuple(self._drift(champion, at)) if champion is not None else (),
            labelled={over_s: labelled for over_s, (labelled, _) in sums.items()},
            correct={over_s: correct for over_s, (_, correct) in sums.items()},
            reference_accuracy=self.accuracies.get(champion) if champion is not None else None,
            captured=bisect_right(self.captured_at, at) - bisect_right(self.captured_at, since),
            labels_since=sum(every),
        )

    def _sum_labels(self) -> None:
        """Add labels up by version, so that any stretch of time is a difference of two sums."""
        by_version: dict[int, list[WindowRow]] = {}
        for row in self.windows:
            by_version.setdefault(row.version, []).append(row)
        for number, rows in by_version.items():
            self._labels[number] = (
                [row.received_at for row in rows],
                [0, *accumulate(row.labelled for row in rows)],
                [0, *accumulate(row.correct for row in rows)],
            )

    def _labelled(self, version: int | None, since: datetime, until: datetime) -> tuple[int, int]:
        if version is None or version not in self._labels:
            return 0, 0
        times, labelled, correct = self._labels[version]
        first, last = bisect_right(times, since), bisect_right(times, until)
        return labelled[last] - labelled[first], correct[last] - correct[first]

    def _go_to(self, at: datetime) -> None:
        last = bisect_right(self.windows, at, key=lambda row: row.received_at)
        changed: dict[tuple[str, int], WindowRow] = {}
        for row in self.windows[self._next : last]:
            self._serving[row.device_id] = row.version
            key = (row.device_id, row.version)
            if row.samples > row.unsketched:
                self._recent[key] = [row, *self._recent.get(key, [])][:LOOKBACK_WINDOWS]
                changed[key] = row
        self._next = last
        for key in changed if self.references else ():
            self._look_at(key, at)

    def _look_at(self, key: tuple[str, int], at: datetime) -> None:
        """Decide by the plain rule whether a device's inputs have drifted now, as it was decided then."""
        device_id, version = key
        reference = self.references.get(version)
        recent = [row for row in self._recent[key] if row.ended_at > at - LOOKBACK]
        if reference is None or not recent:
            return
        packed = [Packed(one.features, one.missing) for one in newest_enough([_counted(row) for row in recent])]
        verdict = look_at(packed, *reference).verdict
        if not verdict.is_tested:
            return
        if not verdict.is_raised:
            self._drifted.pop(key, None)
            if not any(number == version for _, number in self._drifted):
                self._raised.pop(version, None)
            return
        names = self._names(version)
        self._drifted[device_id, version] = tuple(names[place] for place in verdict.leading[:8])
        self._raised.setdefault(version, at)

    def _names(self, version: int) -> list[str]:
        wanted = select(Version.baseline).where(Version.model == self.policy.model, Version.number == version)
        features: list[dict[str, Any]] = self.session.exec(wanted).one()["features"]
        return [str(one["name"]) for one in features]

    def _drift(self, champion: int, at: datetime) -> Iterator[DriftFact]:
        mine = {
            device: features
            for (device, number), features in self._drifted.items()
            if number == champion and self._serving.get(device) == champion
        }
        if mine:
            leading = Counter(name for features in mine.values() for name in features)
            names = tuple(name for name, _ in leading.most_common(8))
            yield DriftFact("replayed", "plain", champion, frozenset(mine), names, self._raised[champion])
        for row in self.signals:
            is_active = row.raised_at <= at and (row.cleared_at is None or row.cleared_at > at)
            if is_active and row.version == champion:
                names = tuple(str(one["name"]) for one in row.features)
                count = max([len(row.devices), *(int(one.get("devices") or 0) for one in row.features)])
                yield DriftFact(row.id, row.rule, champion, frozenset(row.devices), names, row.raised_at, max(count, 1))


def _reference(version: Version) -> tuple[Histogram, list[bool]]:
    baseline = Baseline.model_validate(version.baseline)
    return reference_of(baseline), [one.is_categorical for one in baseline.features]


def _counted(row: WindowRow) -> RecentWindow:
    return RecentWindow(row.samples - row.unsketched, row.features, row.missing, None)
