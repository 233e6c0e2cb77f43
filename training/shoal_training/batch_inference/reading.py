"""Reads the file of a batch inference; what is wrong with it is said with line and field."""

from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from shoal_compression.documents import SUFFIXES, DocumentError, read_document
from shoal_compression.recipe_errors import first_of
from shoal_training.batch_inference.definition import BatchInference
from shoal_training.errors import InferenceError

MAX_BYTES: Final = 262_144


class InferenceFile(NamedTuple):
    """A file as it was when it was read."""

    path: Path
    text: str
    definition: BatchInference


def read_inference(path: Path) -> InferenceFile:
    """Read a file.

    Raises:
        InferenceError: It can not be read, or is no batch inference; line and field are named.
    """
    if path.suffix not in SUFFIXES:
        raise InferenceError(f"reading {path}: expected a file that ends in {', '.join(SUFFIXES)}; rename it")
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InferenceError(f"reading {path}: {error}; name a file of text that holds a batch inference") from error
    return InferenceFile(path, text, parse_inference(text, str(path)))


def parse_inference(text: str, source: str = "batch inference") -> BatchInference:
    """Read a batch inference from YAML, of which JSON is a part.

    Raises:
        InferenceError: As for `read_inference`.
    """
    if len(text.encode()) > MAX_BYTES:
        raise InferenceError(f"reading {source}: more than {MAX_BYTES} bytes; a batch inference is some lines")
    try:
        found = read_document(text, f"reading {source}", "a batch inference")
    except DocumentError as error:
        where = source if error.line is None else f"{source}, line {error.line}"
        raise InferenceError(f"reading {where}: {error.reason}") from error
    try:
        return BatchInference.model_validate(found.fields)
    except ValidationError as error:
        place, reason = first_of(error)
        named = ".".join(str(one + 1) if isinstance(one, int) else str(one) for one in place) or "batch inference"
        raise InferenceError(f"reading {source}, line {found.line(place)}: {named}: {reason}") from error
