"""Works out which device computes which sets, and tells those for which that is news."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from shoal_contract.features import DesiredFeatures
from shoal_hub.database import AdvisoryLock, Database, hold
from shoal_hub.devices import placing
from shoal_hub.devices.assigned import devices_of
from shoal_hub.devices.compose import FEATURES
from shoal_hub.devices.placing import told_of
from shoal_hub.errors import ConflictError
from shoal_hub.features.merge import Merged, merge
from shoal_hub.features.tables import FeatureAssignment, FeatureSet, FeatureSetVersion

OWNER: Final = "features"
"""Of the intents: one a device, of all its sets."""


class Sets:
    """The sets of a session, by what devices are told: `name:number,…`; each combination is folded once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._merged: dict[str, Merged] = {}
        self._bodies: dict[tuple[str, int], DesiredFeatures] = {}

    def merged(self, sets: str) -> Merged:
        """Return what a device of these sets computes, and what is left out of it."""
        if sets not in self._merged:
            self._merged[sets] = merge({name: self._body(name, number) for name, number in split(sets).items()})
        return self._merged[sets]

    def pipelines(self, name: str, number: int) -> list[str]:
        """Return the names of a set's pipelines."""
        return sorted(self._body(name, number).pipelines)

    def _body(self, name: str, number: int) -> DesiredFeatures:
        """Return a version; one that is no longer kept has nothing to compute."""
        if (name, number) not in self._bodies:
            row = self._session.get(FeatureSetVersion, (name, number))
            body = DesiredFeatures() if row is None else DesiredFeatures.model_validate(row.body)
            self._bodies[name, number] = body
        return self._bodies[name, number]


def split(sets: str) -> dict[str, int]:
    """Return the numbers by name of `motion:2,pumps:7`."""
    pairs = (one.rpartition(":") for one in sets.split(",") if one)
    return {name: int(number) for name, _, number in pairs}


def place(session: Session, now: datetime, *, is_strict: bool) -> None:
    """Bring every device in line with the sets, whom they are assigned to, and who is in a group now.

    Args:
        session: An open transaction; the desired states follow when it has been committed.
        now: The clock.
        is_strict: Refuse where a set does not fit on a device beside the others; else it is left out there.

    Raises:
        ConflictError: A set does not fit.
    """
    # Nobody else places before this transaction has ended: whoever comes second sees what the first has assigned.
    hold(session, AdvisoryLock.FEATURES)
    told, wanted = told_of(session, OWNER), assigned_sets(session, now)
    sets_of = Sets(session)
    if is_strict:
        for device_id in sorted(one for one, sets in wanted.items() if told.get(one) != sets):
            _require_fit(device_id, sets_of.merged(told.get(device_id, "")), sets_of.merged(wanted[device_id]))
    placing.place(session, OWNER, FEATURES, wanted, lambda sets: sets_of.merged(sets).body, now)


def follow_features(database: Database, now: datetime) -> None:
    """Tell devices that came into a group or left it since the last look."""
    with database.session() as session:
        has_news = told_of(session, OWNER) != assigned_sets(session, now)
    if has_news:
        with database.transaction() as session:
            place(session, now, is_strict=False)


def assigned_sets(session: Session, now: datetime) -> dict[str, str]:
    """Return for each unrevoked device to which any is assigned its sets in their newest versions, by name."""
    assigned: dict[str, str] = {}
    for one, device_ids in _targets(session, now):
        for device_id in device_ids:
            assigned[device_id] = f"{assigned[device_id]},{one}" if device_id in assigned else one
    return assigned


def _targets(session: Session, now: datetime) -> Iterable[tuple[str, Collection[str]]]:
    """Yield each set in its newest version, by name, with the devices that it is assigned to."""
    # By one statement: a set that was made between two would be assigned in the second and unknown to the first.
    columns = select(FeatureAssignment.name, FeatureSet.version, FeatureAssignment.scope, FeatureAssignment.target)
    rows = session.exec(columns.join(FeatureSet, col(FeatureSet.name) == col(FeatureAssignment.name))).all()
    assigned = (((name, version), scope, target) for name, version, scope, target in rows)
    sets = devices_of(session, assigned, now)
    for (name, version), device_ids in sorted(sets.items()):
        yield f"{name}:{version}", device_ids


def _require_fit(device_id: str, before: Merged, after: Merged) -> None:
    for name, reason in after.left_out.items():
        if name not in before.left_out:
            raise ConflictError(
                f"computing features {name} on {device_id} beside what is assigned to it: {reason}",
                "name the parts of sets for the same device differently, or assign fewer of them",
            )
