"""Runs a batch inference: the source into parts, the parts through the model, the answers to the sink, a manifest last.

A run has a folder below one of results: `NAME/RUN/`, with its record, its parts until it has ended, and what the sink
notes. A run that was killed is gone on with by running it again: parts that the sink has are not answered again.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from shoal_compression.output_folder import held_alone, make_folder, says_unwritable
from shoal_training.batch_inference.engines.engine import Answer, EngineContext
from shoal_training.batch_inference.manifest import Manifest, ModelIdentity
from shoal_training.batch_inference.model_work import Asked, ModelWork, work_of
from shoal_training.batch_inference.parts import Part, PartFolder, plan_parts, planned
from shoal_training.batch_inference.reading import InferenceFile
from shoal_training.batch_inference.record import InferenceRun, read_run, read_runs, write_run
from shoal_training.batch_inference.sinks.sink import SinkContext, Writer
from shoal_training.batch_inference.whole_file import write_whole
from shoal_training.errors import CancelledError, InferenceError
from shoal_training.ingestion.source import Reading
from shoal_training.progress import Progress, silent

PARTS, NOTES, REFUSED, MANIFEST_FILE = "parts", "notes", "refused", "manifest.json"
_STAGE: Final = "answer parts"


@dataclass(frozen=True)
class Given:
    """What a run is given beside its file.

    Attributes:
        bundle: The model's folder.
        root: Folder of results; any number of runs may share it.
        number: Of the version at the hub, where it is known.
        features: Names along the axis of the model's one input, by the version's baseline.
        run_id: Of the run to begin or go on with; None: the latest of this file that has not finished, where its source
            is as it was, or a new one.
        is_fresh: Whether a new run is begun anyway, where `run_id` names none.
        folder: That paths of the file are relative to; None: the file's own.
        progress: Told at each part.
        is_cancelled: Whether the run is to end.
    """

    bundle: Path
    root: Path
    number: int | None = None
    features: tuple[str, ...] = ()
    run_id: str | None = None
    is_fresh: bool = False
    folder: Path | None = None
    progress: Progress = silent
    is_cancelled: Callable[[], bool] = field(default=lambda: False)


def run_inference(file: InferenceFile, given: Given) -> InferenceRun:
    """Run a batch inference, or go on with a run of it that has not ended.

    Returns:
        What it came to; of a run that had finished already, what that was.

    Raises:
        TrainingError: It can not be done; parts that were written stay, and the record says why.
        OutputError: The folder of results can not be written.
    """
    make_folder(given.root)
    before_id = None if given.is_fresh else _unfinished(file, given)
    run_id = given.run_id or before_id or f"{_now():%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"
    folder = given.root / file.definition.name / run_id
    make_folder(folder)
    with held_alone(folder) as is_mine:
        if not is_mine:
            raise InferenceError(f"running {file.path}: another process is at {run_id}; wait until it has ended")
        before = read_run(folder)
        if before is not None and before.state == "finished":
            return before
        work = _work(file, given)
        run = _Run(file, given, folder, work, _begun(file, given, run_id, before, work))
        run.do()
        return run.record


@dataclass
class _Run:
    file: InferenceFile
    given: Given
    folder: Path
    work: ModelWork
    record: InferenceRun

    def do(self) -> None:
        """Do what is left of the run.

        Raises:
            TrainingError: It can not be done.
        """
        self._note()
        try:
            with says_unwritable(self.folder):
                self._do()
        except CancelledError as error:
            self._note(state="cancelled", error=str(error), ended_at=_now())
            raise
        except BaseException as error:
            self._note(state="failed", error=str(error) or type(error).__name__, ended_at=_now())
            raise
        self._note(state="finished", error="", ended_at=_now())
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def _do(self) -> None:
        definition = self.file.definition
        found = planned(self.folder / PARTS)
        if found is None:
            if self.record.parts:
                raise InferenceError(
                    f"going on with {self.record.id}: its parts are gone from {self.folder / PARTS}, and the source "
                    "may give other rows now; begin a new run"
                )
            found = self._read()
        plan = found.plan
        self._note(source=plan.source, rows=plan.rows, parts=len(plan.parts))
        base = self.given.folder or self.file.path.parent
        context = SinkContext(self.record.id, base, self.folder / NOTES)
        with definition.sink.opened(context) as writer:
            self._answer(found, writer)
            self._finish(found, writer)

    def _read(self) -> PartFolder:
        definition = self.file.definition
        reading = Reading(
            self.given.folder or self.file.path.parent,
            self.given.progress,
            is_strict=definition.is_strict,
            schema_change=definition.schema_change,
        )

        def tell_refused() -> None:
            lines = [f"{one.model_dump_json()}\n" for one in reading.refused]
            write_whole(self.folder / REFUSED / "reading.jsonl", "".join(lines).encode())

        return plan_parts(
            definition.source, reading, self.folder / PARTS, definition.part_rows, self._check_cancelled, tell_refused
        )

    def _check_cancelled(self) -> None:
        if self.given.is_cancelled():
            raise CancelledError("reading rows: the run was cancelled")

    def _answer(self, found: PartFolder, writer: Writer) -> None:
        written = writer.written()
        todo = [part for part in found.plan.parts if part.number not in written]
        done, rows = len(written), sum(one.rows for one in written.values())
        self._tell(done, rows, len(found.plan.parts))
        context = EngineContext(found.table, self.given.is_cancelled, self.folder)
        for part, answer in self.file.definition.engine.answers(self.work, todo, context):
            self._keep_refused(part, answer)
            one = writer.write(part.number, answer.table)
            done, rows = done + 1, rows + one.rows
            self._tell(done, rows, len(found.plan.parts))

    def _tell(self, done: int, rows: int, parts: int) -> None:
        self._note(written_parts=done, written_rows=rows)
        self.given.progress(_STAGE, done, parts)

    def _keep_refused(self, part: Part, answer: Answer) -> None:
        """Tell the rows that have no answer; before the part is written, so that none is lost by a kill between."""
        if answer.refused:
            lines = [
                json.dumps({"row": part.place(row), "reason": reason}) + "\n" for row, reason in answer.refused.items()
            ]
            write_whole(self.folder / REFUSED / f"{part.number:06}.jsonl", "".join(lines).encode())

    def _finish(self, found: PartFolder, writer: Writer) -> None:
        written, plan = writer.written(), found.plan
        missing = [part.number for part in plan.parts if part.number not in written]
        if missing:
            raise InferenceError(
                f"finishing {self.record.id}: the sink has lost part {missing[0]} and {len(missing) - 1} others; leave "
                "what it has to this run, and run again"
            )
        rows = sum(one.rows for one in written.values())
        refused = plan.refused_rows + plan.rows - rows
        manifest = Manifest(
            run=self.record.id,
            name=self.record.name,
            model=self.record.model,
            source=plan.source,
            rows=rows,
            refused_rows=refused,
            parts=tuple(written[part.number] for part in plan.parts),
            finished_at=_now(),
        )
        writer.finish(manifest)
        write_whole(self.folder / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
        self._note(refused_rows=refused)

    def _note(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the record
        self.record = self.record.model_copy(update=changes)
        write_run(self.folder, self.record)


def _work(file: InferenceFile, given: Given) -> ModelWork:
    definition = file.definition
    engine = definition.engine
    threads = engine.threads_each
    asked = Asked(
        batch_rows=definition.batch_rows,
        inputs=definition.inputs,
        keep=definition.keep,
        prefix=definition.prefix,
        is_strict=definition.is_strict,
        threads=threads,
    )
    return work_of(given.bundle, asked, given.features)


def _begun(
    file: InferenceFile, given: Given, run_id: str, before: InferenceRun | None, work: ModelWork
) -> InferenceRun:
    """Return the record that a run begins with, or goes on with.

    Raises:
        InferenceError: It was begun with another file or another model.
    """
    definition = file.definition
    model = ModelIdentity(
        name=work.bundle.name,
        sha256=work.sha256,
        declared_sha256=work.declared_sha256,
        version=definition.model.version,
        number=given.number,
    )
    if before is None:
        return InferenceRun(
            id=run_id,
            name=definition.name,
            definition_sha256=definition.sha256,
            text=file.text,
            state="running",
            started_at=_now(),
            model=model,
            sink=definition.sink.described(),
            engine={"kind": definition.engine.kind, **definition.engine.model_dump(mode="json")},
        )
    changed = "file" if before.definition_sha256 != definition.sha256 else "model"
    was = (before.model.sha256, before.model.declared_sha256)
    if changed == "file" or was != (model.sha256, model.declared_sha256):
        raise InferenceError(
            f"going on with {run_id} of {definition.name}: the {changed} is another than that which it was begun with, "
            f"and answers would be of both; put it back, or begin a new run"
        )
    return before.model_copy(update={"state": "running", "error": "", "ended_at": None})


def _unfinished(file: InferenceFile, given: Given) -> str | None:
    """Return the latest run of this very file, if it has not finished and its source is as it was."""
    own = [one for one in read_runs(given.root) if one.name == file.definition.name]
    found = next((one for one in own if one.definition_sha256 == file.definition.sha256), None)
    if found is None or found.state == "finished":
        return None
    reading = Reading(given.folder or file.path.parent)
    plan = planned(given.root / found.name / found.id / PARTS)  # it may have been killed before it noted its source
    was = (plan.plan.source if plan else found.source).get("fingerprint")
    return found.id if was is None or was == file.definition.source.fingerprint(reading) else None


def _now() -> datetime:
    return datetime.now(timezone.utc)
