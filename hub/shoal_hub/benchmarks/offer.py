"""Begins benchmarks, offers them to devices class by class, and ends them. All by level: each step can be repeated."""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple

from sqlmodel import Session, col, select

from shoal_contract.benchmarks import DesiredBenchmark
from shoal_contract.limits import MAX_BENCHMARK_BYTES
from shoal_hub.benchmarks.device_classes import BoardClass, ClassDevice, devices_like
from shoal_hub.benchmarks.tables import Benchmark, BenchmarkDevice, BenchmarkState, Outcome
from shoal_hub.database import announce
from shoal_hub.devices.compose import BENCHMARKS
from shoal_hub.devices.intents import drop_intents, drop_intents_of, set_intent
from shoal_hub.devices.tables import Device
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.transfer.leases import drop_leases, take_leases

GRACE: Final = timedelta(minutes=2)
"""After its deadline a device has so long to say what came of it, before another one is asked."""
GONE: Final = timedelta(minutes=3)
"""A device that has been offline for so long is not waited for where another one can be asked."""


@dataclass(frozen=True)
class Plan:
    """What a benchmark asks for.

    Attributes:
        subject: What it is for.
        body: Candidates, samples and bounds.
        samples: How many there are.
        classes: The boards that measure, once for each target class that devices of them are of.
        devices_per_class: How many devices of each of these measure.
        patience_s: How long each of them has, and how long one that is away is waited for.
    """

    subject: str
    body: DesiredBenchmark
    samples: int
    classes: Collection[BoardClass]
    devices_per_class: int
    patience_s: float


def owner_of(benchmark_id: str) -> str:
    """Return under whose name a benchmark's intents and leases stand."""
    return f"benchmark/{benchmark_id}"


def begin_benchmark(session: Session, plan: Plan, *, by: str, now: datetime) -> Benchmark:
    """Begin a benchmark and offer it to the first devices.

    Raises:
        InvalidInputError: It has no room in a desired state.
    """
    size = len(plan.body.model_dump_json().encode())
    if size > MAX_BENCHMARK_BYTES:
        raise InvalidInputError(
            f"measuring on devices: the benchmark takes {size} bytes, at most {MAX_BENCHMARK_BYTES} have room in a "
            "state",
            "measure fewer candidates",
        )
    row = Benchmark(
        id=new_id("b"),
        subject=plan.subject,
        body=plan.body.model_dump(mode="json"),
        samples=plan.samples,
        classes=_by_board(plan.classes),
        devices_per_class=plan.devices_per_class,
        patience_s=plan.patience_s,
        created_by=by,
        created_at=now,
    )
    session.add(row)
    session.flush()
    take_leases(session, owner_of(row.id), _files_of(plan.body), now)
    count = len(plan.body.candidates)
    _record(session, row, "benchmark_begun", f"{count} candidates are measured on {len(plan.classes)} classes by {by}")
    offer_more(session, row, now)
    return row


def offer_more(session: Session, row: Benchmark, now: datetime, *, looks: bool = True) -> bool:
    """Bring a benchmark on: ask other devices where some take too long, and end it if it is over.

    A device that has disappeared gives way to another one of its board and class. Where there is none it is waited for,
    as are others that are away: for as long as one device has.

    Args:
        session: An open transaction.
        row: The benchmark, locked.
        now: The clock.
        looks: Whether devices are looked for that have not been asked; of a large fleet that takes its time.

    Returns:
        Whether some were looked for, and too few are there.
    """
    if row.state != "running":
        return False
    asked = devices_of(session, row.id)
    waits = is_short = False
    for wanted in board_classes(row):
        of_class = [one for one in asked if BoardClass(one.hardware, one.target_class) == wanted]
        found = _offer_class(session, row, wanted, of_class, now, looks=looks)
        waits, is_short = waits or found.waits, is_short or found.is_short
    if not waits:
        end_benchmark(session, row, now)
    return is_short


def board_classes(row: Benchmark) -> list[BoardClass]:
    """Return the boards that measure, once for each target class that devices of them are of."""
    return sorted(BoardClass(hardware, name) for hardware, names in row.classes.items() for name in names)


class _Offered(NamedTuple):
    """How one board and class stands: whether a device is waited for, and whether too few were found."""

    waits: bool
    is_short: bool


def _offer_class(
    session: Session,
    row: Benchmark,
    wanted: BoardClass,
    of_class: Sequence[BenchmarkDevice],
    now: datetime,
    *,
    looks: bool,
) -> _Offered:
    """Bring on the devices of one board and class."""
    away = _end_late(session, row, of_class, now)
    live = [one for one in of_class if one.outcome in {"open", "done"}]
    missing = row.devices_per_class - len(live) + len(away)
    free = _free(session, wanted, of_class, missing if looks else 0)
    for device in free:
        _offer(session, row, device, now)
        if of_class:
            text = f"another device of its class is asked, {device.id} ({device.hardware})"
            _record(session, row, "benchmark_device_asked", text)
    has_result = any(one.outcome == "done" for one in of_class)
    spare = max(0, len(live) + len(free) - row.devices_per_class)
    _end_away(session, row, away if has_result else away[:spare], now)
    may_wait = now <= row.created_at + timedelta(seconds=row.patience_s)
    is_back = may_wait and _ask_again(session, row, of_class, missing - len(free), now)
    is_short = looks and missing > len(free)
    if free or is_back or any(one.outcome == "open" for one in of_class):
        return _Offered(waits=True, is_short=is_short)
    if missing > 0 and not looks:
        return _Offered(waits=True, is_short=False)
    return _Offered(may_wait and not has_result and _has_others(session, wanted, of_class), is_short)


def _free(
    session: Session, wanted: BoardClass, of_class: Sequence[BenchmarkDevice], most: int
) -> Sequence[ClassDevice]:
    """Return devices that are online and have not been asked yet."""
    if most <= 0:
        return []
    with closing(devices_like(session, wanted, {one.device_id for one in of_class}, is_online=True)) as found:
        return list(islice(found, most))


def _end_away(session: Session, row: Benchmark, away: Sequence[BenchmarkDevice], now: datetime) -> None:
    for one in away:
        close_device(session, one, "gone", now)
        text = (
            f"{one.device_id} ({one.hardware}) has disappeared; another device of its class is asked, or has measured"
        )
        _record(session, row, "benchmark_device_given_up", text)


def _has_others(session: Session, wanted: BoardClass, of_class: Sequence[BenchmarkDevice]) -> bool:
    """Whether a device that is away could still measure once it is back."""
    had_their_time = {one.device_id for one in of_class if one.outcome != "gone"}
    with closing(devices_like(session, wanted, had_their_time, is_online=False)) as found:
        return next(found, None) is not None


def _ask_again(session: Session, row: Benchmark, of_class: Sequence[BenchmarkDevice], most: int, now: datetime) -> bool:
    """Ask devices that had disappeared and are back; they have the time that they had. Return whether there are any."""
    gone = [one for one in of_class if one.outcome == "gone" and now <= one.deadline_at]
    back = [one for one in gone if _is_online(session, one)][: max(0, most)]
    for one in back:
        one.outcome, one.ended_at = "open", None
        session.add(one)
        _want(session, row, one, now)
        _record(session, row, "benchmark_device_back", f"{one.device_id} ({one.hardware}) is back, and is asked again")
    return bool(back)


def end_benchmark(session: Session, row: Benchmark, now: datetime, state: BenchmarkState | None = None) -> None:
    """End a benchmark; nothing is wanted of any device any more.

    Args:
        session: An open transaction.
        row: The benchmark.
        now: The clock.
        state: How; None: by what devices have measured.
    """
    if row.state != "running":
        return
    rows = devices_of(session, row.id)
    for one in rows:
        if one.outcome == "open":
            _close(session, one, "cancelled", now)
    measured = {BoardClass(one.hardware, one.target_class) for one in rows if has_measured(one)}
    row.state = state or ("done" if measured else "failed")
    row.ended_at = now
    session.add(row)
    drop_intents_of(session, owner_of(row.id))
    drop_leases(session, owner_of(row.id))
    wanted = board_classes(row)
    missing = [one.hardware for one in wanted if one not in measured]
    said = f"measured on {len(measured)} of {len(wanted)} classes"
    _record(session, row, "benchmark_ended", said + (f", not on {', '.join(missing)}" if missing else ""))


def has_measured(one: BenchmarkDevice) -> bool:
    """Whether a device has told figures: of all candidates, or of some before its time had passed."""
    if one.outcome == "done":
        return True
    told = (one.result or {}).get("measured", ()) if one.outcome == "expired" else ()
    return any(candidate.get("latency_ms") is not None for candidate in told)


def devices_of(session: Session, benchmark_id: str) -> Sequence[BenchmarkDevice]:
    """Return the devices that were offered a benchmark, in that order."""
    session.flush()
    wanted = select(BenchmarkDevice).where(BenchmarkDevice.benchmark == benchmark_id)
    order = (col(BenchmarkDevice.offered_at), col(BenchmarkDevice.device_id))
    return session.exec(wanted.order_by(*order)).all()


def close_device(session: Session, row: BenchmarkDevice, outcome: Outcome, now: datetime) -> None:
    """Note how a device ended, and want nothing of it any more."""
    _close(session, row, outcome, now)
    drop_intents(session, row.device_id, owner=owner_of(row.benchmark))


def _close(session: Session, row: BenchmarkDevice, outcome: Outcome, now: datetime) -> None:
    row.outcome, row.ended_at = outcome, now
    session.add(row)


def _end_late(
    session: Session, row: Benchmark, of_class: Collection[BenchmarkDevice], now: datetime
) -> list[BenchmarkDevice]:
    """Give up devices whose time has passed, or that are revoked; return those that have been away for too long."""
    away = []
    for one in of_class:
        if one.outcome != "open":
            continue
        is_late = now > one.deadline_at + GRACE
        device = session.get_one(Device, one.device_id)
        if is_late or device.revoked_at is not None:
            close_device(session, one, "expired" if is_late else "gone", now)
            why = "did not say what came of it in time" if is_late else "is revoked"
            _record(session, row, "benchmark_device_given_up", f"{one.device_id} ({one.hardware}) {why}")
        elif device.presence != "online":
            since = device.presence_since
            away += [one] if since is None or now - max(since, one.offered_at) > GONE else []
    return away


def _is_online(session: Session, one: BenchmarkDevice) -> bool:
    device = session.get_one(Device, one.device_id)
    return device.presence == "online" and device.revoked_at is None


def _offer(session: Session, row: Benchmark, device: ClassDevice, now: datetime) -> None:
    session.add(
        offered := BenchmarkDevice(
            benchmark=row.id,
            device_id=device.id,
            hardware=device.hardware,
            target_class=device.target_class,
            offered_at=now,
            deadline_at=now + timedelta(seconds=row.patience_s),
        )
    )
    session.flush()
    _want(session, row, offered, now)


def _want(session: Session, row: Benchmark, offered: BenchmarkDevice, now: datetime) -> None:
    body = DesiredBenchmark.model_validate(row.body | {"deadline_at": offered.deadline_at})
    until = offered.deadline_at + GRACE
    section, owner = f"{BENCHMARKS}{row.id}", owner_of(row.id)
    set_intent(session, offered.device_id, section, kind="default", owner=owner, body=body, now=now, until=until)


def _by_board(classes: Collection[BoardClass]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in sorted(set(classes)):
        found.setdefault(one.hardware, []).append(one.target_class)
    return found


def _files_of(body: DesiredBenchmark) -> set[str]:
    return {body.samples_sha256, *(one.sha256 for one in body.candidates)}


def _record(session: Session, row: Benchmark, kind: str, text: str) -> None:
    record_event(session, kind, f"benchmark {row.id}: {text}"[:1000], subject=row.subject)
    announce(session, "compression")
