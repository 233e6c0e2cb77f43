"""What a batch inference of an operator may reach at the hub: what the settings name, and a folder of its own.

Looked at twice: when it is set, by its text, and by its job, with the files that are really there.
"""

from itertools import takewhile
from pathlib import Path
from typing import Final

from shoal_hub.errors import InvalidInputError, RefusedError
from shoal_hub.reach import Reach, listed
from shoal_hub.settings import Settings
from shoal_training.batch_inference.definition import BatchInference
from shoal_training.batch_inference.places import places_of
from shoal_training.batch_inference.reading import parse_inference
from shoal_training.errors import TrainingError
from shoal_training.ingestion.found_files import find_files
from shoal_training.places import places_of_source

_DOING: Final = "batch inference at the hub"
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
    engines = listed(settings.inference_engines)
    if definition.engine.kind not in engines:
        raise RefusedError(
            f"{_DOING}: the engine {definition.engine.kind} is not among {', '.join(engines)}",
            "add it to SHOAL_INFERENCE_ENGINES",
        )
    reach, own = _reach(settings), files_folder(settings)
    for place in places_of(definition):
        reach.check(place)
        if place.is_local:
            reach.check_path(own / (_before_signs(place.text) if place.suffixes else place.text), own)
    return definition


def check_files(definition: BatchInference, settings: Settings) -> None:
    """See that every local file that is read is one that may be, whatever links lead to it.

    Raises:
        RefusedError: One lies elsewhere.
        DataError: None is there.
    """
    reach, own = _reach(settings), files_folder(settings)
    for place in places_of_source(definition.source):
        if place.is_local and place.suffixes:
            for name in find_files(place.text, own, place.suffixes).paths:
                reach.check_path(Path(name), own)


def _before_signs(path: str) -> str:
    """Return the folders of a pattern before its first sign."""
    plain = takewhile(lambda part: not any(sign in part for sign in _SIGNS), Path(path).parts)
    return str(Path(*plain))


def _reach(settings: Settings) -> Reach:
    return Reach(
        _DOING,
        listed(settings.inference_places),
        listed(settings.inference_secrets),
        "SHOAL_INFERENCE_PLACES",
        "SHOAL_INFERENCE_SECRETS",
        "name paths below the hub's batch-inference/files",
    )
