"""Begins compression runs, and cancels them."""

from datetime import datetime

from sqlmodel import Session

from shoal_hub.benchmarks.offer import end_benchmark
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.compression.request import CompressionRequest
from shoal_hub.compression.tables import OPEN, CompressionRun
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.jobs.queue import enqueue, give_up
from shoal_hub.registry.versions import find_version

MAKE = "compression"
CHOOSE = "compression-choose"


def find_run(session: Session, run_id: str, *, is_locked: bool = False) -> CompressionRun:
    """Return a run.

    Raises:
        NotFoundError: There is none.
    """
    found = session.get(CompressionRun, run_id, with_for_update=True if is_locked else None)
    if found is None:
        raise NotFoundError(f"no compression run {run_id}", "list them: shoal compress list")
    return found


def start_run(session: Session, request: CompressionRequest, *, by: str, now: datetime) -> CompressionRun:
    """Add a run and the job that makes its files.

    Raises:
        NotFoundError: No such model or version.
        InvalidInputError: It has nothing to run, or is to choose by what devices do not measure.
        ConflictError: The version is encrypted, and devices would get its files in plain.
    """
    version = find_version(session, request.model, request.version)
    if request.kind == "run" and not request.recipes:
        remedy = "name one, see: shoal compress recipes"
        raise InvalidInputError("starting a compression run: no recipe was given", remedy)
    if request.prefer == "energy" and request.devices_per_class > 0:
        raise InvalidInputError(
            "starting a compression run: energy is preferred, and devices do not measure it",
            "prefer latency, size, memory or accuracy, or take what the hub's own meter reads: --devices 0",
        )
    if version.is_encrypted:
        raise ConflictError(
            f"compressing {version.model} version {version.number}: it is encrypted, and candidates are measured on "
            "devices in plain",
            "compress a version that is not encrypted",
        )
    run_id = new_id("c")
    job = enqueue(session, MAKE, f"compression/{run_id}", {"run": run_id}, by=by)
    run = CompressionRun(
        id=run_id,
        model=version.model,
        version_id=version.id or 0,
        number=version.number,
        request=request.model_dump(mode="json"),
        job_id=job.id,
        created_by=by,
        created_at=now,
    )
    session.add(run)
    said = f"{request.kind} of {version.model} version {version.number} started by {by}"
    record_event(session, "compression_started", f"{run_id}: {said}", subject=f"compression/{run_id}")
    announce(session, "compression")
    return run


def cancel_run(session: Session, run: CompressionRun, *, by: str, now: datetime) -> None:
    """Cancel a run: nothing of it is registered; what it made is found by the next one. Again, it does nothing."""
    if run.state not in OPEN:
        return
    give_up(session, run.job_id, f"cancelled by {by}")
    if run.benchmark_id is not None:
        end_benchmark(session, session.get_one(Benchmark, run.benchmark_id, with_for_update=True), now, "cancelled")
    close_run(session, run, "cancelled", f"cancelled by {by}", now)


def close_run(session: Session, run: CompressionRun, state: str, reason: str, now: datetime) -> None:
    """Note how a run ended."""
    run.state, run.reason, run.ended_at = state, reason[:2000], now  # type: ignore[assignment]  # of RunState
    session.add(run)
    text = f"{run.id} of {run.model} version {run.number} {state}" + (f": {reason}" if reason else "")
    severity = "error" if state == "failed" else "info"
    record_event(session, f"compression_{state}", text[:1000], subject=f"compression/{run.id}", severity=severity)  # type: ignore[arg-type]
    announce(session, "compression")
