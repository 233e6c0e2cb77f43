"""Reads a pipeline file; what is wrong with it is said with line and field."""

from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from shoal_compression.documents import SUFFIXES, DocumentError, read_document
from shoal_compression.recipe_errors import first_of
from shoal_training.errors import PipelineError
from shoal_training.pipeline.definition import Pipeline

MAX_BYTES: Final = 262_144


class PipelineFile(NamedTuple):
    """A pipeline file as it was when it was read."""

    path: Path
    text: str
    pipeline: Pipeline


def read_pipeline(path: Path) -> PipelineFile:
    """Read a pipeline file.

    Raises:
        PipelineError: It can not be read, or is no pipeline; line and field are named.
    """
    if path.suffix not in SUFFIXES:
        raise PipelineError(f"reading {path}: expected a file that ends in {', '.join(SUFFIXES)}; rename it")
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"reading {path}: {error}; name a file of text that holds a pipeline") from error
    return PipelineFile(path, text, parse_pipeline(text, str(path)))


def parse_pipeline(text: str, source: str = "pipeline") -> Pipeline:
    """Read a pipeline from YAML, of which JSON is a part.

    Raises:
        PipelineError: As for `read_pipeline`.
    """
    if len(text.encode()) > MAX_BYTES:
        raise PipelineError(f"reading {source}: more than {MAX_BYTES} bytes; a pipeline is some lines, split it")
    try:
        found = read_document(text, f"reading {source}", "a pipeline")
    except DocumentError as error:
        where = source if error.line is None else f"{source}, line {error.line}"
        raise PipelineError(f"reading {where}: {error.reason}") from error
    try:
        return Pipeline.model_validate(found.fields)
    except ValidationError as error:
        place, reason = first_of(error)
        named = _named(place) or "pipeline"
        raise PipelineError(f"reading {source}, line {found.line(place)}: {named}: {reason}") from error


def _named(place: tuple[Any, ...]) -> str:
    return ".".join(str(one + 1) if isinstance(one, int) else str(one) for one in place)
