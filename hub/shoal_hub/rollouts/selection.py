"""Which devices a rollout is for, in which waves, and who is held back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import String, bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_hub.bulk import Addition, Query
from shoal_hub.database import as_texts, is_among
from shoal_hub.devices.groups import find_group, member_ids
from shoal_hub.devices.matching import matching_ids
from shoal_hub.devices.query import parse_query
from shoal_hub.devices.tables import Device, JsonObject, Presence
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError
from shoal_hub.ids import new_ids
from shoal_hub.pins.pin import pinned_devices
from shoal_hub.rollouts.request import RolloutAgain, RolloutPlan, RolloutRequest
from shoal_hub.rollouts.tables import Deployment, DeploymentState, Rollout
from shoal_hub.rollouts.waves import choose_held_back, plan_waves, shuffled


class Candidate(NamedTuple):
    """What of a device a rollout's start looks at: a large fleet's whole rows would be most of its work."""

    id: str
    presence: Presence
    reported: JsonObject | None


@dataclass(frozen=True)
class Selection:
    """A rollout's devices.

    Attributes:
        ahead: Those that go ahead, in the order of the waves.
        held_back: Those that stay as they are.
        waves: The sizes of the waves, the late ones in the last.
        pinned: How many are left out as they are pinned.
        late: Those that go ahead in the last wave, and that no gate compares, as nobody drew them.
    """

    ahead: list[Candidate]
    held_back: list[Candidate]
    waves: list[int]
    pinned: int = 0
    late: list[Candidate] = field(default_factory=list)

    @property
    def told(self) -> list[Candidate]:
        """All that get the version, in the order of the waves."""
        return [*self.ahead, *self.late]

    def placed(self) -> list[tuple[Candidate, int]]:
        """Return those that go ahead, each with its wave."""
        waves = [wave for wave, size in enumerate(self.waves) for _ in range(size)]
        return list(zip(self.told, waves, strict=True))


def choose_devices(session: Session, request: RolloutRequest, seed: int, now: datetime) -> Selection:
    """Return a request's devices; revoked ones are never among them.

    A list stays in its order unless it is to be shuffled. Everybody else is in random order, so that the first waves
    are a fair sample; those online come first, as the others could not be compared anyway. A device that is pinned to
    a version of the model stays out.

    Raises:
        NotFoundError: A named device is not there.
        ConflictError: A named device is pinned.
        InvalidInputError: There is no device, or the waves make no sense.
    """
    pinned = pinned_devices(session, request.model, now)
    out = 0
    if request.devices is not None:
        found = _named(session, request.devices)
        _check_none_pinned(request.model, found, pinned)
        ordered = _shuffle(found, seed) if request.is_shuffled else found
    else:
        found = find_candidates(session, request, now)
        free = [one for one in found if one.id not in pinned]
        out = len(found) - len(free)
        ordered = sorted(_shuffle(free, seed), key=lambda one: one.presence != "online")
    back = choose_held_back([one.id for one in ordered], request.holdback_percent, seed) if ordered else frozenset()
    if request.holdback_percent and ordered and not back:
        raise InvalidInputError(
            f"planning a rollout: {request.holdback_percent:g}% of {len(ordered)} devices is none to hold back",
            "hold a larger share back, or none",
        )
    ahead = [one for one in ordered if one.id not in back]
    *waves, last = plan_waves(len(ahead), request.waves, request.rate)
    late = _named(session, request.late) if isinstance(request, RolloutAgain) else []
    _check_none_pinned(request.model, late, pinned)
    return Selection(
        ahead=ahead,
        held_back=[one for one in ordered if one.id in back],
        waves=[*waves, last + len(late)],
        pinned=out,
        late=late,
    )


def _check_none_pinned(model: str, devices: Sequence[Candidate], pinned: Collection[str]) -> None:
    held = [one.id for one in devices if one.id in pinned]
    if held:
        raise ConflictError(
            f"starting a rollout of {model}: {', '.join(held[:20])} stay on a version by a pin",
            f"let them go first, or leave them out: shoal devices unpin {held[0]} {model}",
        )


def find_candidates(
    session: Session, plan: RolloutPlan, now: datetime, leave_out: Collection[str] = frozenset()
) -> list[Candidate]:
    """Return the devices that a plan without a list is for now.

    Args:
        session: An open session.
        plan: Names a group, or a query, or neither: then it is for all devices.
        now: The clock, for the ages in a query.
        leave_out: Ids of devices that do not count; they are not loaded.

    Raises:
        NotFoundError: There is no such group.
        QueryError: The query is none.
    """
    if plan.group is None and plan.query is None and not leave_out:
        return list(map(Candidate._make, _ALL.rows(session)))
    found = _load(session, (one for one in _candidate_ids(session, plan, now) if one not in leave_out))
    return list(found.values())


def _candidate_ids(session: Session, plan: RolloutPlan, now: datetime) -> list[str]:
    if plan.group is not None:
        return member_ids(session, find_group(session, plan.group), now)
    if plan.query is not None:
        return list(matching_ids(session, parse_query(plan.query), now))
    return list(session.exec(select(Device.id).where(col(Device.revoked_at).is_(None))).all())


def _load(session: Session, device_ids: Iterable[str]) -> dict[str, Candidate]:
    """Return these devices by id, in this order; what is revoked or not there is left out."""
    ids = list(device_ids)
    found = {one.id: one for one in map(Candidate._make, _THESE.rows(session, ids=as_texts(ids)))}
    return {one: found[one] for one in ids if one in found}


_COLUMNS: Final = [getattr(Device, name) for name in Candidate._fields]
_UNREVOKED: Final[Any] = select_columns(*_COLUMNS).where(col(Device.revoked_at).is_(None))
_ALL: Final = Query(_UNREVOKED)
_THESE: Final = Query(_UNREVOKED.where(is_among(col(Device.id), bindparam("ids", type_=String()))))


def add_deployments(session: Session, rollout: Rollout, chosen: Selection, expected: Mapping[str, int]) -> None:
    """Add a deployment for each device; one that is held back is in no wave of the plan.

    Args:
        session: An open transaction.
        rollout: The rollout.
        chosen: Its devices.
        expected: What each is going to fetch of the model's file, as far as that is known.
    """
    late = {one.id for one in chosen.late}
    ahead = (
        _Row(rollout.id, one.id, wave, is_late_joiner=one.id in late, forecast_bytes=expected.get(one.id))
        for one, wave in chosen.placed()
    )
    back = (_Row(rollout.id, one.id, len(rollout.waves), state="held_back") for one in chosen.held_back)
    _add(session, [*ahead, *back])


def add_late(
    session: Session, rollout: Rollout, late: Sequence[Candidate], wave: int, expected: Mapping[str, int]
) -> None:
    """Add a deployment for each device that joins a rollout that runs; see `add_deployments`."""
    _add(
        session,
        [_Row(rollout.id, one.id, wave, is_late_joiner=True, forecast_bytes=expected.get(one.id)) for one in late],
    )


class _Row(NamedTuple):
    """What differs between the deployments that are added."""

    rollout_id: str
    device_id: str
    wave: int
    state: DeploymentState = "pending"
    is_late_joiner: bool = False
    forecast_bytes: int | None = None


_SAME: Final = Deployment(id="", rollout_id="", device_id="", wave=0).model_dump(exclude_none=True)
_ADD: Final = Addition(Deployment, ("id", *_Row._fields), _SAME)


def _add(session: Session, rows: Sequence[_Row]) -> None:
    session.flush()  # the rollout is there before
    ids = new_ids("dp", len(rows))
    _ADD.execute(session, [{"id": one, **row._asdict()} for one, row in zip(ids, rows, strict=True)])


def _named(session: Session, device_ids: Sequence[str]) -> list[Candidate]:
    by_id = _load(session, dict.fromkeys(device_ids))
    unknown = [device_id for device_id in dict.fromkeys(device_ids) if device_id not in by_id]
    if unknown:
        raise NotFoundError(f"starting a rollout: no device {', '.join(unknown[:20])}", "list them: shoal devices list")
    return list(by_id.values())


def _shuffle(devices: Sequence[Candidate], seed: int) -> list[Candidate]:
    by_id = {device.id: device for device in devices}
    return [by_id[device_id] for device_id in shuffled(by_id.keys(), seed)]
