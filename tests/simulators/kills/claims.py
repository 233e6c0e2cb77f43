"""What must hold of a fleet at rest, whatever was killed on the way. Pure: evidence in, problems in words out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from tests.simulators.kills.evidence import DeploymentRow, Evidence, Tables, add_up

ENDED: Final = frozenset({"succeeded", "aborted", "rolled_back"})
_AHEAD: Final = frozenset({"succeeded", "failed"})
_BACK: Final = frozenset({"cancelled", "rolled_back", "failed"})
_ENDED_TOO_OFTEN: Final = "ended"
"""The device's word for a version at which its agent ended again and again. Kills may well come as often as that."""
_ONCE: Final = ("rollout_started", "rollout_succeeded", "rollout_aborted", "rollout_rolled_back", "commit")


@dataclass
class Book:
    """What the operator knows: which rollouts the hub has taken, and what each device should serve by now."""

    rollouts: dict[str, frozenset[str]] = field(default_factory=dict)
    """Devices of each rollout."""
    serving: dict[tuple[str, str], int] = field(default_factory=dict)
    """Versions by (device, model)."""

    def close(self, rollout: str, tables: Tables) -> None:
        """Enter how a rollout has ended: ahead, its devices have its version but for those that failed.

        One that the hub has lost is not entered; `problems` says that it is lost.
        """
        row = tables.rollouts.get(rollout)
        if row is not None and row.state == "succeeded":
            done = [one for one in tables.deployments if one.rollout == rollout and one.state == "succeeded"]
            self.serving |= {(one.device, row.model): row.version for one in done}


def unrest(tables: Tables) -> list[str]:
    """Return what is still going on, in words; nothing at rest."""
    found = [f"rollout {name} is {row.state}" for name, row in tables.rollouts.items() if row.state not in ENDED]
    found += [f"{one.id} of {one.rollout} on {one.device} is {one.state}" for one in tables.deployments if is_open(one)]
    found += [f"{tables.stale} desired states are to be composed"] if tables.stale else []
    for device, wanted in tables.wanted.items():
        told = tables.told[device]
        if told.order != wanted.order:
            found.append(f"{device} reports {told.order}, {wanted.order} is wanted")
        found += [f"{device}: {section}" for section in told.unsettled]
    return found


def is_open(one: DeploymentRow) -> bool:
    """Whether something is still to come of an attempt, or of its way back."""
    is_going_back = one.rollback is not None and one.state not in {"rolled_back", "failed"}
    return one.state in {"pending", "assigned", "working", "timed_out"} or is_going_back


def problems(evidence: Evidence, book: Book) -> list[str]:
    """Return all that is wrong, in words."""
    return list(
        chain(
            _lost(evidence, book),
            _activated_twice(evidence),
            _untrue(evidence),
            _wrong_at_rest(evidence, book),
            _miscounted(evidence, book),
            _noted_twice(evidence.tables.events),
            _not_at_the_broker(evidence),
        )
    )


def _lost(evidence: Evidence, book: Book) -> Iterator[str]:
    """Every rollout that the hub has taken is there, with an attempt a device that has come to an end."""
    for rollout, devices in book.rollouts.items():
        row = evidence.tables.rollouts.get(rollout)
        mine = [one for one in evidence.tables.deployments if one.rollout == rollout]
        if row is None:
            yield f"lost: rollout {rollout}"
            continue
        if Counter(one.device for one in mine) != Counter(devices):
            yield f"lost: rollout {rollout} has {len(mine)} deployments for {len(devices)} devices"
        allowed = _AHEAD if row.state == "succeeded" else _BACK
        for one in mine:
            if one.state not in allowed:
                yield f"lost: {one.id} is {one.state}, its rollout {rollout} {row.state}"
            if one.state == "failed" and one.problem != _ENDED_TOO_OFTEN:
                yield f"lost: {one.id} on {one.device} has failed ({one.problem})"


def _activated_twice(evidence: Evidence) -> Iterator[str]:
    for device, disk in evidence.disks.items():
        for deployment, times in disk.activated.items():
            if times > 1:
                yield f"twice: {device} has activated {deployment} {times} times"


def _untrue(evidence: Evidence) -> Iterator[str]:
    """What the hub says of an attempt is what the disk has gone through."""
    gone = {
        device: [
            (one.after.active.deployment, one.after.active.version)
            for one in disk.changes
            if one.after.active is not None and one.after.active.state == "good"
        ]
        for device, disk in evidence.disks.items()
    }
    for one in evidence.tables.deployments:
        proved = {version for deployment, version in gone.get(one.device, []) if deployment == one.id}
        row = evidence.tables.rollouts.get(one.rollout)
        if row is None:
            yield f"lost: {one.id} on {one.device} is of rollout {one.rollout}, which is gone"
            continue
        version = row.version
        if proved - {version}:
            yield f"untrue: {one.id} of version {version} has had {proved} good on {one.device}"
        if one.state == "succeeded" and version not in proved:
            yield f"untrue: {one.id} has succeeded, says the hub, but {one.device} has never had it good"
        if one.target == "" and (proved or evidence.disks[one.device].activated[one.id]):
            yield f"untrue: {one.id} was never told, says the hub, but {one.device} has had it active"


def _wrong_at_rest(evidence: Evidence, book: Book) -> Iterator[str]:
    """Disk, hub and operator have the same word on what each device serves, and it serves."""
    for device, disk in evidence.disks.items():
        expected = {model: version for (one, model), version in book.serving.items() if one == device}
        if disk.active != expected:
            yield f"wrong: {device} has {disk.active} active, {expected} were rolled out"
        if (told := evidence.tables.told[device].active) != disk.active:
            yield f"wrong: {device} has {disk.active} active, the hub says {told}"
        yield from _against_desired(evidence, device)
    if evidence.serving != (on_disk := add_up([disk.active for disk in evidence.disks.values()])):
        yield f"wrong: {dict(evidence.serving)} answer, {dict(on_disk)} are active"


def _against_desired(evidence: Evidence, device: str) -> Iterator[str]:
    roles, wanted = evidence.disks[device].roles, evidence.tables.wanted[device].models
    failed = {one.id for one in evidence.tables.deployments if one.device == device and one.state == "failed"}
    for model in {*roles, *wanted}:
        active = roles[model].active if model in roles else None
        found = (active.version, active.deployment) if active is not None else None
        if found != wanted.get(model) and wanted.get(model, (0, ""))[1] not in failed:
            yield f"wrong: {device} has {found} of {model} active, {wanted.get(model)} is desired"
        if model in roles and roles[model].candidate is not None:
            yield f"wrong: {device} has a candidate of {model} left"


def _miscounted(evidence: Evidence, book: Book) -> Iterator[str]:
    for rollout, devices in book.rollouts.items():
        in_table = Counter(one.state for one in evidence.tables.deployments if one.rollout == rollout)
        said = evidence.counts.get(rollout)
        if said != in_table or sum(in_table.values()) != len(devices):
            yield f"counts: of {len(devices)} devices of {rollout} the API says {said}, the table {dict(in_table)}"


def _noted_twice(events: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for (what, subject), times in events.items():
        if times > 1 and what in _ONCE:
            yield f"twice: {what} of {subject} was noted {times} times"


def _not_at_the_broker(evidence: Evidence) -> Iterator[str]:
    wanted = {device: one.envelope for device, one in evidence.tables.wanted.items()}
    for device in sorted(wanted.keys() | evidence.retained.keys()):
        if wanted.get(device) != evidence.retained.get(device):
            there = "nothing" if device not in evidence.retained else "another state"
            yield f"broker: it keeps {there} for {device}, not the one in the database"
