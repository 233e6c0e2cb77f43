"""The job of a run: the version's bundle, the rows, the answers. A job that is done again goes on with its run."""

import shutil
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel

from shoal_hub.batch_inference.allowed import check_files, files_folder, read_allowed
from shoal_hub.batch_inference.runs import open_runs
from shoal_hub.batch_inference.tables import BatchInferenceRunRow
from shoal_hub.compression.kept import trim_folders
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.tables import Version
from shoal_training.batch_inference.reading import InferenceFile
from shoal_training.batch_inference.running import PARTS, Given, run_inference


class InferenceResult(BaseModel):
    """What a run came to."""

    run: str
    rows: int
    parts: int
    written_rows: int
    refused_rows: int


def run(work: JobWork) -> InferenceResult:
    """Run, or go on.

    Raises:
        RefusedError: The settings do not allow any more what it reaches.
        TrainingError: It can not be done; parts that were written stay.
    """
    with work.database.session() as session:
        row = session.get_one(BatchInferenceRunRow, work.params["run"])
        version = session.get_one(Version, row.version_id)
        at_work = open_runs(session)
    definition = read_allowed(row.text, work.settings)
    folder = files_folder(work.settings)
    folder.mkdir(parents=True, exist_ok=True)
    check_files(definition, work.settings)
    runs = work.settings.data / "batch-inference" / "runs"
    trim_parts(runs, work.settings.inference_max_bytes, besides=at_work)
    bundle = work.folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)  # a job that is done again starts anew
    restore_bundle(work.artifacts, version, bundle)
    given = Given(
        bundle,
        runs,
        number=row.number,
        features=tuple(one["name"] for one in version.baseline.get("features", ())),
        run_id=row.id,
        folder=folder,
        progress=work.progress,
    )
    try:
        done = run_inference(InferenceFile(Path(f"{row.name}.yaml"), row.text, definition), given)
    finally:
        shutil.rmtree(bundle, ignore_errors=True)
    return InferenceResult(
        run=row.id,
        rows=done.rows,
        parts=done.parts,
        written_rows=done.written_rows,
        refused_rows=done.refused_rows,
    )


def trim_parts(runs: Path, most_bytes: int, *, besides: Collection[str]) -> None:
    """Let go the rows of runs that have not ended well, those that lie the longest first.

    Args:
        runs: Folder of all runs.
        most_bytes: That may be left.
        besides: The runs that are at work or will be.
    """
    folders = [path for path in runs.glob(f"*/*/{PARTS}") if path.parent.name not in besides]
    trim_folders(folders, most_bytes, "batch inference")
