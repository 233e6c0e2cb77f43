"""What a batch inference of an operator may reach at the hub: what the settings name, and a folder of its own.

Looked at twice: when it is set, by its text, and by its job, with the files that are really there.
"""

from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shoal_hub.batch_inference.settings import listed
from shoal_hub.errors import InvalidInputError, RefusedError
from shoal_hub.settings import Settings
from shoal_training.batch_inference.definition import BatchInference
from shoal_training.batch_inference.places import Place, places_of
from shoal_training.batch_inference.reading import parse_inference
from shoal_training.errors import TrainingError
from shoal_training.ingestion.files import SUFFIXES, FileSource
from shoal_training.ingestion.found_files import find_files

_DOING: Final = "batch inference at the hub"
_OPTIONS: Final = frozenset({f"kafka {one}" for one in ("security.protocol", "sasl.mechanism", "sasl.mechanisms")})
"""Others load files, or code, into the hub."""
_SIGNS: Final = "*?[{"


def files_folder(settings: Settings) -> Path:
    """Return the folder that relative paths lie below, and that is always allowed."""
    return settings.data / "batch-inference" / "files"


def read_allowed(text: str, settings: Settings) -> BatchInference:
    """Read a batch inference that was sent.

    Raises:
        InvalidInputError: It is none; line and field are named.
        RefusedError: It reaches what it may not.
    """
    try:
        definition = parse_inference(text)
    except TrainingError as error:
        raise InvalidInputError(str(error)) from error
    if definition.model.bundle:
        raise InvalidInputError(
            f"{_DOING}: the model is a folder's bundle, and the hub runs its own", "name it as NAME@VERSION"
        )
    engines = listed(settings.inference_engines)
    if definition.engine.kind not in engines:
        raise RefusedError(
            f"{_DOING}: the engine {definition.engine.kind} is not among {', '.join(engines)}",
            "add it to SHOAL_INFERENCE_ENGINES",
        )
    for place in places_of(definition):
        _check_place(place, settings)
    return definition


def check_files(definition: BatchInference, settings: Settings) -> None:
    """See that every local file that is read is one that may be, whatever links lead to it.

    Raises:
        RefusedError: One lies elsewhere.
        DataError: None is there.
    """
    source = definition.source
    if isinstance(source, FileSource) and "://" not in source.path:
        for name in find_files(source.path, files_folder(settings), tuple(SUFFIXES)).paths:
            _check_path(name, settings)


def _check_place(place: Place, settings: Settings) -> None:
    allowed = listed(settings.inference_places)
    match place.kind:
        case "path":
            _check_path(_before_signs(place.text), settings)
        case "secret" if place.text not in listed(settings.inference_secrets):
            raise RefusedError(
                f"{_DOING}: the variable {place.text} may not be read", "add it to SHOAL_INFERENCE_SECRETS"
            )
        case "option" if place.text not in _OPTIONS:
            raise RefusedError(f"{_DOING}: the option {place.text} may not be set", "leave it out")
        case "database" if place.text not in allowed:
            raise _not_allowed(place.text)
        case "address" if not _is_listed(place.text, allowed):
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


def _check_path(path: str, settings: Settings) -> None:
    own = files_folder(settings)
    roots = [own, *(Path(one) for one in listed(settings.inference_places) if one.startswith("/") and "://" not in one)]
    real = (own / path).resolve()
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise _not_allowed(path)


def _before_signs(path: str) -> str:
    """Return the folders of a pattern before its first sign."""
    plain = takewhile(lambda part: not any(sign in part for sign in _SIGNS), Path(path).parts)
    return str(Path(*plain))


def _not_allowed(text: str) -> RefusedError:
    return RefusedError(
        f"{_DOING}: {text[:200]} is not among what it may read and write",
        "name paths below the hub's batch-inference/files, or have SHOAL_INFERENCE_PLACES name it",
    )
