"""What a pipeline of an operator may reach at the hub: the files that came with it, and what the settings name.

Looked at twice: when it is sent, by its text, and by its job, with the files that are really there.
"""

from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG
from typing import Final
from urllib.parse import urlsplit

from shoal_hub.errors import InvalidInputError, RefusedError, TooLargeError
from shoal_hub.training.settings import TrainingSettings, listed
from shoal_training.errors import TrainingError
from shoal_training.ingestion.found_files import find_files
from shoal_training.pipeline.definition import Pipeline
from shoal_training.pipeline.places import Place, places_of
from shoal_training.pipeline.reading import parse_pipeline

_OPTIONS: Final = frozenset({f"kafka {one}" for one in ("security.protocol", "sasl.mechanism", "sasl.mechanisms")})
"""Others load files, or code, into the hub."""
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
        _check_place(place, settings)


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
    roots = [folder.resolve(), *_folders(settings)]
    total_bytes = 0
    for place in places_of(pipeline):
        if not place.is_local:
            continue
        for name in find_files(place.text, folder, place.suffixes).paths:
            total_bytes += _size_of(Path(name), roots)
    if total_bytes > settings.training_source_bytes:
        raise TooLargeError(
            f"{_DOING}: it reads files of {total_bytes} bytes, at most {settings.training_source_bytes} are allowed",
            "name fewer of them, or raise SHOAL_TRAINING_SOURCE_BYTES",
        )


def _check_place(place: Place, settings: TrainingSettings) -> None:
    sources = listed(settings.training_sources)
    match place.kind:
        case "code" if not settings.training_code:
            raise RefusedError(
                f"{_DOING}: {place.text} is code, which would run with all that the hub may do",
                "train it on a machine of your own: shoal train --register; or set SHOAL_TRAINING_CODE",
            )
        case "secret" if place.text not in listed(settings.training_secrets):
            raise RefusedError(
                f"{_DOING}: the variable {place.text} may not be read", "add it to SHOAL_TRAINING_SECRETS"
            )
        case "bundle":  # its graph may name any file of the hub
            raise InvalidInputError(
                f"{_DOING}: the champion is the folder {place.text}", "name one of the registry: champion.model"
            )
        case "option" if place.text not in _OPTIONS:
            raise RefusedError(f"{_DOING}: the option {place.text} may not be set", "leave it out")
        case "database" if place.text not in sources:
            raise _not_allowed(place.text)
        case "files" | "address" if not (place.is_local or _is_listed(place.text, sources)):
            raise _not_allowed(place.text)


def _is_listed(url: str, allowed: Iterable[str]) -> bool:
    """Whether a URL begins with one of those allowed, at a border of its parts."""
    if "::" in url or "\\" in url or ".." in urlsplit(url).path.split("/") or urlsplit(url).scheme in {"file", "local"}:
        return False  # of one file system within another, or a way out of what is allowed
    return any(
        url == one or (url.startswith(one) and (one.endswith("/") or url[len(one)] in "/?#"))
        for one in allowed
        if "://" in one
    )


def _folders(settings: TrainingSettings) -> list[Path]:
    return [
        Path(one).resolve() for one in listed(settings.training_sources) if "://" not in one and one.startswith("/")
    ]


def _size_of(path: Path, roots: Iterable[Path]) -> int:
    """Return a file's size, if it is one and lies in one of these folders."""
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise _not_allowed(str(path))
    about = real.stat()
    if not S_ISREG(about.st_mode):
        raise RefusedError(f"{_DOING}: {path} is no plain file", "name files")
    return about.st_size


def _not_allowed(text: str) -> RefusedError:
    return RefusedError(
        f"{_DOING}: {text} is not among what trainings may read",
        "send small files along, by paths beside the pipeline file; or have SHOAL_TRAINING_SOURCES name it",
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
