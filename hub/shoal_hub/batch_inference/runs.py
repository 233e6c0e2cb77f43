"""Sets batch inferences and begins, cancels and resumes their runs; the job does the work."""

from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.batch_inference.due import seen_as_found
from shoal_hub.batch_inference.facts import read_facts, reference
from shoal_hub.batch_inference.tables import BatchInferenceRow, BatchInferenceRunRow
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.jobs.queue import cancel, enqueue
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.versions import find_version
from shoal_training.batch_inference.definition import BatchInference
from shoal_training.batch_inference.reading import parse_inference

KIND: Final = "batch-inference"
SUBJECT: Final = "batch-inference/"
OPEN: Final = ("queued", "running")
MAX_INFERENCES: Final = 1_000


def find_inference(session: Session, name: str, *, is_locked: bool = False) -> BatchInferenceRow:
    """Return a batch inference.

    Raises:
        NotFoundError: There is none of this name.
    """
    row = session.get(BatchInferenceRow, name, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"no batch inference {name}", "list them: shoal inference list")
    return row


def find_run(session: Session, name: str, run_id: str, *, is_locked: bool = False) -> BatchInferenceRunRow:
    """Return a run.

    Raises:
        NotFoundError: There is none.
    """
    row = session.get(BatchInferenceRunRow, run_id, with_for_update=is_locked or None)
    if row is None or row.name != name:
        raise NotFoundError(f"no run {run_id} of {name}", f"list them: shoal inference show {name}")
    return row


def set_inference(
    session: Session, name: str, text: str, definition: BatchInference, *, by: str, now: datetime
) -> BatchInferenceRow:
    """Set a batch inference, in place of an earlier one of its name; runs keep to what they began with.

    Raises:
        InvalidInputError: Its text has another name.
        NotFoundError: There is no such model or version, or no batch inference that it is to run after.
        ConflictError: There are as many as there may be.
    """
    if definition.name != name:
        raise InvalidInputError(
            f"setting {name}: its file is called {definition.name}", "set it under that name, or rename it"
        )
    find_version(session, *reference(definition))
    for before in definition.schedule.after if definition.schedule is not None else ():
        find_inference(session, before)
    row = session.get(BatchInferenceRow, name, with_for_update=True)
    if row is None:
        if len(session.exec(select(BatchInferenceRow.name)).all()) >= MAX_INFERENCES:
            raise ConflictError(f"setting {name}: there are {MAX_INFERENCES}, which is the most", "remove others")
        row = BatchInferenceRow(name=name, text=text, set_by=by, set_at=now, since=now)
    row.text, row.set_by, row.set_at, row.since, row.seen = text, by, now, now, {}
    session.add(row)
    _tell(session, name, "batch_inference_set", f"batch inference {name} set by {by}", now)
    return row


def remove_inference(session: Session, name: str, *, by: str, now: datetime) -> None:
    """Forget a batch inference; its runs stay.

    Raises:
        NotFoundError: There is none of this name.
        ConflictError: A run of it goes on.
    """
    row = find_inference(session, name, is_locked=True)
    if (run := open_run(session, name)) is not None:
        raise ConflictError(f"removing {name}: its run {run} goes on", f"shoal inference cancel {name} {run}")
    session.delete(row)
    _tell(session, name, "batch_inference_removed", f"batch inference {name} removed by {by}", now)


def switch_schedule(session: Session, name: str, *, on: bool, by: str, now: datetime) -> BatchInferenceRow:
    """Have a schedule begin runs, or no more; what came about while it was off is not made up for.

    Raises:
        NotFoundError: There is none of this name.
    """
    row = find_inference(session, name, is_locked=True)
    if row.is_enabled != on:
        row.is_enabled, row.since = on, now
        definition = parse_inference(row.text)
        if definition.schedule is not None:
            facts = read_facts(session, row, definition, definition.schedule, None)
            row.seen = seen_as_found(definition.schedule, facts)
        session.add(row)
        word = "on" if on else "off"
        _tell(session, name, "batch_inference_switched", f"schedule of {name} switched {word} by {by}", now)
    return row


def begin_run(session: Session, row: BatchInferenceRow, *, by: str, reason: str, now: datetime) -> BatchInferenceRunRow:
    """Begin a run of the version that the model's name stands for now.

    Raises:
        ConflictError: One goes on.
        NotFoundError: There is no such version.
    """
    if (open_one := open_run(session, row.name)) is not None:
        raise ConflictError(f"running {row.name}: its run {open_one} goes on", "wait for it, or cancel it")
    version = find_version(session, *reference(parse_inference(row.text)))
    run_id = new_id("i")
    job = enqueue(session, KIND, f"{SUBJECT}{row.name}", {"run": run_id}, by=by)
    run = BatchInferenceRunRow(
        id=run_id,
        name=row.name,
        text=row.text,
        model=version.model,
        number=version.number,
        version_id=version.id or 0,
        job_id=job.id,
        reason=reason,
        created_by=by,
        created_at=now,
    )
    session.add(run)
    text = f"{run_id}: {version.model} version {version.number} answers for {row.name}: {reason}"
    _tell(session, row.name, "batch_inference_begun", text, now)
    return run


def resume_run(session: Session, run: BatchInferenceRunRow, *, by: str) -> BatchInferenceRunRow:
    """Go on with a run that has failed or was cancelled: parts that are written are not answered again.

    Raises:
        ConflictError: It goes on, has ended well, or another run of the same goes on.
    """
    job = session.get_one(Job, run.job_id)
    if job.state == "succeeded":
        raise ConflictError(f"resuming {run.id}: it has ended well", f"begin another: shoal inference run {run.name}")
    if (open_one := open_run(session, run.name)) is not None:
        raise ConflictError(f"resuming {run.id}: the run {open_one} goes on", "wait for it, or cancel it")
    run.job_id = enqueue(session, KIND, f"{SUBJECT}{run.name}", {"run": run.id}, by=by).id
    session.add(run)
    return run


def cancel_run(session: Session, run: BatchInferenceRunRow, *, by: str) -> None:
    """End a run; what is written stays, and it can be gone on with. Again, it does nothing."""
    cancel(session, run.job_id, by=by)


def open_run(session: Session, name: str) -> str | None:
    """Return the run of a batch inference that is queued or at work."""
    wanted = select(BatchInferenceRunRow.id).join(Job, col(Job.id) == BatchInferenceRunRow.job_id)
    return session.exec(wanted.where(BatchInferenceRunRow.name == name, col(Job.state).in_(OPEN))).first()


def open_runs(session: Session) -> set[str]:
    """Return all runs that are queued or at work."""
    wanted = select(BatchInferenceRunRow.id).join(Job, col(Job.id) == BatchInferenceRunRow.job_id)
    return set(session.exec(wanted.where(col(Job.state).in_(OPEN))).all())


def _tell(session: Session, name: str, kind: str, text: str, now: datetime) -> None:
    record_event(session, kind, text, subject=f"{SUBJECT}{name}", at=now)
    announce(session, "batch-inference")
