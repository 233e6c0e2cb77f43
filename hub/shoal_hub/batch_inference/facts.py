"""What is known of a schedule, as the database has it: what `due` decides by."""

from datetime import datetime

from sqlmodel import Session, col, func, select

from shoal_hub.batch_inference.due import Facts
from shoal_hub.batch_inference.tables import BatchInferenceRow, BatchInferenceRunRow
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.tables import Version
from shoal_training.batch_inference.definition import BatchInference
from shoal_training.batch_inference.schedule import Schedule


def reference(definition: BatchInference) -> tuple[str, str]:
    """Return the model's name and what says the version: a number, an alias, a stage."""
    name, _, version = definition.model.version.partition("@")
    return name, version


def read_facts(
    session: Session, row: BatchInferenceRow, definition: BatchInference, schedule: Schedule, fingerprint: str | None
) -> Facts:
    """Return what is known now; the fingerprint of the source is the caller's to say."""
    model = reference(definition)[0]
    models = {one.model or model for one in schedule.events if one.kind != "new_data"}
    return Facts(
        since=row.since,
        model=model,
        production={one: _newest(session, one, is_production=True) for one in models},
        newest={one: _newest(session, one, is_production=False) for one in models},
        fingerprint=fingerprint,
        ended_well={name: _ended_well(session, name) for name in schedule.after},
        seen=row.seen,
    )


def _newest(session: Session, model: str, *, is_production: bool) -> int | None:
    wanted = select(func.max(Version.number)).where(Version.model == model)
    return session.exec(wanted.where(Version.stage == "production") if is_production else wanted).one()


def _ended_well(session: Session, name: str) -> datetime | None:
    wanted = select(Job.ended_at).join(BatchInferenceRunRow, col(BatchInferenceRunRow.job_id) == Job.id)
    wanted = wanted.where(BatchInferenceRunRow.name == name, Job.state == "succeeded")
    return session.exec(wanted.order_by(col(Job.ended_at).desc())).first()
