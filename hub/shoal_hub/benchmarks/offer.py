"""Begins benchmarks, offers them to devices class by class, and ends them. All by level: each step can be repeated."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select

from shoal_contract.benchmarks import DesiredBenchmark
from shoal_contract.limits import MAX_BENCHMARK_BYTES
from shoal_hub.benchmarks.device_classes import ClassDevice, class_devices
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
"""A device that has been offline for so long is not waited for."""


@dataclass(frozen=True)
class Plan:
    """What a benchmark asks for.

    Attributes:
        subject: What it is for.
        body: Candidates, samples and bounds.
        samples: How many there are.
        classes: By hardware class the target class that it is of.
        devices_per_class: How many devices of each hardware class measure.
        patience_s: How long each of them has.
    """

    subject: str
    body: DesiredBenchmark
    samples: int
    classes: Mapping[str, str]
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
        classes=dict(plan.classes),
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


def offer_more(session: Session, row: Benchmark, now: datetime) -> None:
    """Bring a benchmark on: give up devices that take too long, ask others of their class, and end it if it is over."""
    if row.state != "running":
        return
    known = {one.id: one for one in class_devices(session)}
    asked = devices_of(session, row.id)
    _give_up(session, row, asked, known, now)
    wanting = 0
    for hardware in sorted(row.classes):
        of_class = [one for one in asked if one.hardware == hardware]
        live = [one for one in of_class if one.outcome in {"open", "done"}]
        tried = {one.device_id for one in of_class}
        free = [one for one in known.values() if one.hardware == hardware and one.is_online and one.id not in tried]
        missing = max(0, row.devices_per_class - len(live))
        live += [_offer(session, row, device, now) for device in free[:missing]]
        wanting += any(one.outcome == "open" for one in live)
    if not wanting:
        end_benchmark(session, row, now)


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
    measured = {one.hardware for one in rows if one.outcome == "done"}
    row.state = state or ("done" if measured else "failed")
    row.ended_at = now
    session.add(row)
    drop_intents_of(session, owner_of(row.id))
    drop_leases(session, owner_of(row.id))
    missing = sorted(set(row.classes) - measured)
    said = f"measured on {len(measured)} of {len(row.classes)} classes"
    _record(session, row, "benchmark_ended", said + (f", not on {', '.join(missing)}" if missing else ""))


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


def _give_up(
    session: Session,
    row: Benchmark,
    asked: Collection[BenchmarkDevice],
    known: Mapping[str, ClassDevice],
    now: datetime,
) -> None:
    for one in asked:
        if one.outcome != "open":
            continue
        is_late = now > one.deadline_at + GRACE
        if is_late or _is_gone(session, one, known, now):
            close_device(session, one, "expired" if is_late else "gone", now)
            why = "did not say what came of it in time" if is_late else "has disappeared"
            text = f"{one.device_id} ({one.hardware}) {why}; another device of its class is asked"
            _record(session, row, "benchmark_device_given_up", text)


def _is_gone(session: Session, one: BenchmarkDevice, known: Mapping[str, ClassDevice], now: datetime) -> bool:
    if one.device_id not in known:
        return True  # revoked
    if known[one.device_id].is_online:
        return False
    since = session.get_one(Device, one.device_id).presence_since
    return since is None or now - max(since, one.offered_at) > GONE


def _offer(session: Session, row: Benchmark, device: ClassDevice, now: datetime) -> BenchmarkDevice:
    deadline_at = now + timedelta(seconds=row.patience_s)
    body = DesiredBenchmark.model_validate(row.body | {"deadline_at": deadline_at})
    session.add(
        offered := BenchmarkDevice(
            benchmark=row.id,
            device_id=device.id,
            hardware=device.hardware,
            offered_at=now,
            deadline_at=deadline_at,
        )
    )
    session.flush()
    until = deadline_at + GRACE
    section, owner = f"{BENCHMARKS}{row.id}", owner_of(row.id)
    set_intent(session, device.id, section, kind="default", owner=owner, body=body, now=now, until=until)
    return offered


def _files_of(body: DesiredBenchmark) -> set[str]:
    return {body.samples_sha256, *(one.sha256 for one in body.candidates)}


def _record(session: Session, row: Benchmark, kind: str, text: str) -> None:
    record_event(session, kind, f"benchmark {row.id}: {text}"[:1000], subject=row.subject)
    announce(session, "compression")
