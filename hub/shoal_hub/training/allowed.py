"""What a pipeline of an operator may reach at the hub: the files that came with it, and what the settings name.

Looked at twice: when it is sent, by its text, and by its job, with the files that are really there.
"""

from pathlib import Path
from stat import S_ISREG
from typing import Final

from shoal_hub.errors import InvalidInputError, RefusedError, TooLargeError
from shoal_hub.reach import Reach, listed
from shoal_hub.training.settings import TrainingSettings
from shoal_training.errors import DataError, TrainingError
from shoal_training.ingestion.found_files import find_files
from shoal_training.pipeline.definition import Pipeline
from shoal_training.pipeline.places import places_of
from shoal_training.pipeline.reading import parse_pipeline

_DOING: Final = "training at the hub"


def check_allowed(pipeline: Pipeline, settings: TrainingSettings) -> None:
    """See that a pipeline names nothing that it may not reach; files of the hub are looked at by its job.

    Raises:
        RefusedError: It does.
        InvalidInputError: It names what no pipeline at a hub does.
    """
    kinds, compute = listed(settings.training_compute), pipeline.model_training.compute.kind
    if compute not in kinds:
        raise RefusedError(
            f"{_DOING}: the launcher {compute} is not among {', '.join(kinds)}", "add it to SHOAL_TRAINING_COMPUTE"
        )
    if pipeline.model_training.tuning is not None and pipeline.model_training.tuning.storage:
        raise InvalidInputError(
            f"{_DOING}: the tuning names a storage, and the hub keeps the study", "leave `tuning.storage` out"
        )
    for place in places_of(pipeline):
        if place.kind == "code" and not settings.training_code:
            raise RefusedError(
                f"{_DOING}: {place.text} is code, which would run with all that the hub may do",
                "train it on a machine of your own: shoal train --register; or set SHOAL_TRAINING_CODE",
            )
        _reach(settings).check(place)


def check_files(pipeline: Pipeline, folder: Path, settings: TrainingSettings) -> None:
    """See that every local file that a pipeline reads is one that it may read, whatever links lead to it.

    Args:
        pipeline: It.
        folder: Where it lies with the files that were sent along.
        settings: The hub's.

    Raises:
        RefusedError: A file lies elsewhere, or is none.
        TooLargeError: Together they are larger than the settings allow.
        DataError: A file is not there.
    """
    reach, total_bytes = _reach(settings), 0
    for place in places_of(pipeline):
        if place.kind == "folder":
            reach.check_path(folder / place.text, folder)
        if not place.is_local or place.kind == "folder":
            continue
        found = find_files(place.text, folder, place.suffixes).paths if place.suffixes else [str(folder / place.text)]
        for name in found:
            real = reach.check_path(Path(name), folder)
            try:
                about = real.stat()
            except OSError as error:
                raise DataError(f"{_DOING}: {name}: {error.strerror}; send it along, or mend its name") from error
            if not S_ISREG(about.st_mode):
                raise RefusedError(f"{_DOING}: {name} is no plain file", "name files")
            total_bytes += about.st_size
    if total_bytes > settings.training_source_bytes:
        raise TooLargeError(
            f"{_DOING}: it reads files of {total_bytes} bytes, at most {settings.training_source_bytes} are allowed",
            "name fewer of them, or raise SHOAL_TRAINING_SOURCE_BYTES",
        )


def read_checked(text: str, settings: TrainingSettings) -> Pipeline:
    """Read a pipeline that was sent.

    Raises:
        InvalidInputError: It is none; line and field are named.
        RefusedError: It names what it may not reach.
    """
    try:
        pipeline = parse_pipeline(text)
    except TrainingError as error:
        raise InvalidInputError(str(error)) from error
    check_allowed(pipeline, settings)
    return pipeline


def _reach(settings: TrainingSettings) -> Reach:
    return Reach(
        _DOING,
        listed(settings.training_sources),
        listed(settings.training_secrets),
        "SHOAL_TRAINING_SOURCES",
        "SHOAL_TRAINING_SECRETS",
        "send small files along, by paths beside the pipeline file",
    )
