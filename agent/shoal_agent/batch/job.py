"""One `shoal-agent batch`: opens what a job needs, in an order in which nothing is written before all is right."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal_agent.batch.answering import Answering
from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.forms import form_of
from shoal_agent.batch.journal import Done, Journal, Plan
from shoal_agent.batch.model import choose_slot
from shoal_agent.batch.pace import Pace
from shoal_agent.batch.parts import Parts
from shoal_agent.batch.runner import Bounds, Runner
from shoal_agent.batch.sources import open_sources
from shoal_agent.processing import Pipeline
from shoal_agent.serving import ServedModel
from shoal_agent.slots import Slot
from shoal_agent.stored_model import open_model

DEFAULT_BATCH: Final = 32
LoadModel = Callable[[Path, str, Slot], ServedModel]


@dataclass(frozen=True)
class Job:
    """What is asked.

    Attributes:
        data: The agent's folder.
        model: The model's name.
        inputs: Files, folders of images, or patterns of them.
        output: Where answers go; its suffix is its form.
        rejects: Where rows without an answer go, as JSON lines.
        version: Of the model; None: the one that serves.
        keep: Columns of the inputs that go along into the output.
        batch_size: Samples that the model is asked at a time.
        is_restart: Begin anew, whatever there is.
        bounds: Of one part.
    """

    data: Path
    model: str
    inputs: tuple[str, ...]
    output: Path
    rejects: Path
    version: int | None = None
    keep: tuple[str, ...] = ()
    batch_size: int = DEFAULT_BATCH
    is_restart: bool = False
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True)
class Watcher:
    """Who is told how a job goes.

    Attributes:
        begin: Told how many bytes there are to do.
        progress: Told how many bytes are done.
        tell: Told why the job rests.
    """

    begin: Callable[[int], None]
    progress: Callable[[int], None]
    tell: Callable[[str], None]


def run_job(job: Job, pace: Pace, watcher: Watcher, load: LoadModel = open_model) -> dict[str, Any]:
    """Do a job, from where it was, and return its summary.

    Args:
        job: What is asked.
        pace: When it may work.
        watcher: Who is told how it goes.
        load: Loads the model of a slot.

    Raises:
        StoppedError: It was asked to end; the same call goes on.
        AgentError: It can not be done; what was answered is kept.
    """
    form = form_of(job.output)
    try:
        journal = Journal(job.output.with_name(f"{job.output.name}.journal"))
    except OSError as error:
        raise BatchError(
            f"opening the journal of {job.output}: {error}", "give a folder that you may write to"
        ) from error
    try:
        parts = Parts(job.output, job.rejects, form)
        if job.is_restart:
            journal.clear()
            parts.clear()
        return _run(job, journal, parts, pace, watcher, load)
    except OSError as error:
        message = f"writing {job.output}: {error}"
        raise BatchError(message, "free some disk space, then run the same command again: it goes on") from error
    finally:
        _forget_empty(journal)
        journal.close()


def _run(
    job: Job,
    journal: Journal,
    parts: Parts,
    pace: Pace,
    watcher: Watcher,
    load: LoadModel,
) -> dict[str, Any]:
    begun = journal.plan
    slot = choose_slot(job.data, job.model, job.version, begun.manifest_sha256 if begun and not journal.done else None)
    served = load(job.data, job.model, slot)
    try:
        pipeline = Pipeline(served.manifest)
        sources = open_sources(job.inputs, pipeline.image_input)
        plan = Plan(
            model=served.name,
            version=served.version,
            target=served.target,
            manifest_sha256=served.manifest_sha256,
            inputs=tuple(dict(source.identity) for source in sources),
            keep=job.keep,
        )
        _agree(job, journal, plan)
        if (done := journal.done) is not None:
            parts.clear()
            return _summary(job, plan, done, pace, is_resumed=True)
        is_resumed = bool(journal.parts)
        answering = Answering(served, pipeline, job.batch_size)
        watcher.begin(sum(source.size_bytes for source in sources))
        runner = Runner(
            sources, pipeline, answering, journal, parts, job.keep, pace, job.bounds, watcher.progress, watcher.tell
        )
        return _summary(job, plan, runner.run(), pace, is_resumed=is_resumed)
    finally:
        served.engine.close()


def _agree(job: Job, journal: Journal, plan: Plan) -> None:
    """See that what was begun is this job, or begin it.

    Raises:
        BatchError: It is another one, or the output is somebody else's.
    """
    remedy = "name another output, or begin anew with --restart, which replaces it"
    if journal.plan is None:
        if job.output.exists() and not job.is_restart:
            raise BatchError(f"writing {job.output}: it is there, and no journal says that this job made it", remedy)
        journal.write(plan)
    elif difference := journal.plan.difference(plan):
        raise BatchError(f"going on with {job.output}: it was begun with another job; {difference} differ", remedy)


def _summary(job: Job, plan: Plan, done: Done, pace: Pace, *, is_resumed: bool) -> dict[str, Any]:
    return {
        "model": plan.model,
        "version": plan.version,
        "target": plan.target,
        "output": str(job.output),
        "rejects": str(job.rejects) if done.rejected else None,
        "answered": done.answered,
        "rejected": done.rejected,
        "seconds": round(done.seconds, 3),
        "rested_seconds": round(pace.rested_s, 3),
        "resumed": is_resumed,
    }


def _forget_empty(journal: Journal) -> None:
    """Leave no journal behind of a job that was not even begun."""
    if not journal.entries:
        journal.path.unlink(missing_ok=True)
