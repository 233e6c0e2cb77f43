"""The step that checks rows: what a file asks and what follows from what is learned, with a report for people."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shoal_training.ingestion.snapshots import Snapshot, SnapshotStore
from shoal_training.pipeline.definition import Pipeline, Training
from shoal_training.pipeline.record import RunRecord
from shoal_training.validation.check import Action, Check
from shoal_training.validation.column_values import names_of
from shoal_training.validation.profile import profiles_of
from shoal_training.validation.quarantine import write_quarantine
from shoal_training.validation.report_page import report_page
from shoal_training.validation.target import Classes, Leakage
from shoal_training.validation.validate import validate

if TYPE_CHECKING:
    import pyarrow as pa

KEPT_FILE: Final = "kept.npy"
VALIDATION_FILE: Final = "validation.json"
REPORT_FILE: Final = "validation.html"
QUARANTINE_FILE: Final = "quarantine.parquet"


@dataclass(frozen=True)
class Asked:
    """Checks, and what is done where one does not hold and says nothing itself."""

    checks: tuple[Check, ...]
    on_failure: Action


def do_validate(pipeline: Pipeline, snapshot: Snapshot, folder: Path, before: Snapshot | None = None) -> None:
    """Check all rows; write which are kept, what was found, those left out, and the report.

    It does not raise where a check fails: what it has found is kept, and whoever reads it ends the run.

    Raises:
        DataError: A check can not be examined.
    """
    table = snapshot.table()
    known = None if before is None else before.table()
    asked = pipeline.data_preprocessing.validation
    checks = (*asked.checks, *implied_checks(pipeline.model_training, asked.checks, table))
    result = validate(table, known, Asked(checks, asked.on_failure))
    described = result.described()
    np.save(folder / KEPT_FILE, result.kept)
    (folder / VALIDATION_FILE).write_text(json.dumps(described, indent=2) + "\n")
    left_out = write_quarantine(table, result, folder / QUARANTINE_FILE)
    page = report_page(pipeline.name, described, profiles_of(table, known), QUARANTINE_FILE if left_out else None)
    (folder / REPORT_FILE).write_text(page)


def implied_checks(training: Training, asked: tuple[Check, ...], table: "pa.Table") -> tuple[Check, ...]:
    """Return the checks of the target that nobody asked for; they warn of what gives it away, and of rare classes."""
    if training.target is None or training.target not in table.column_names or training.task == "anomaly":
        return ()
    kinds = {type(one) for one in asked}
    columns = names_of(table, ("number", "text", "boolean", "time"), [training.target])
    tried = tuple(name for name in columns if not training.inputs or name in training.inputs)
    found: list[Check] = []
    if Leakage not in kinds and tried:
        found.append(Leakage(target=training.target, columns=tried, action="warn"))
    if Classes not in kinds and training.task == "classification":
        found.append(Classes(target=training.target, action="warn"))
    return tuple(found)


def decided_by(pipeline: Pipeline, snapshot: Snapshot, before: Snapshot | None, run_id: str) -> list[Any]:
    """Return what decides what the checks find, as JSON has it; the run itself if one of them asks the clock."""
    asked, training = pipeline.data_preprocessing.validation, pipeline.model_training
    checks = [[one.kind, one.model_dump(mode="json")] for one in asked.checks]
    learned = [pipeline.name, training.task, training.target, training.inputs]
    clock = run_id if any(one.asks_the_clock for one in asked.checks) else None
    return [snapshot.record.id, before and before.record.id, checks, asked.on_failure, learned, clock]


def version_before(records: list[RunRecord], pipeline: str, current: str, snapshots: SnapshotStore) -> Snapshot | None:
    """Return the data of the newest finished run of a pipeline that had other data; None: there is none, or it is gone.

    Args:
        records: Of runs, the latest first.
        pipeline: Its name.
        current: The snapshot that is looked at now.
        snapshots: Where they lie.
    """
    for one in records:
        if one.pipeline == pipeline and one.state == "finished" and one.snapshot not in {"", current}:
            return snapshots.find(one.snapshot)
    return None


def reports_in(folder: Path) -> Mapping[str, str]:
    """Return the files of a finished step that people look at, by name."""
    files = {"validation": folder / REPORT_FILE, "quarantine": folder / QUARANTINE_FILE}
    return {name: str(path.absolute()) for name, path in files.items() if path.is_file()}
