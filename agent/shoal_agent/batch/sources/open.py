"""From what a person named to sources, by the files' suffixes."""

from collections.abc import Callable, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.sources.avro_source import AvroSource
from shoal_agent.batch.sources.csv_source import CsvSource
from shoal_agent.batch.sources.image_source import SUFFIXES, ImageSource, images_in
from shoal_agent.batch.sources.json_source import JsonSource
from shoal_agent.batch.sources.parquet_source import ParquetSource
from shoal_agent.batch.sources.source import Source

_KINDS: Final[dict[str, Callable[[Path], Source]]] = {
    ".parquet": ParquetSource,
    ".csv": CsvSource,
    ".tsv": CsvSource,
    ".jsonl": JsonSource,
    ".ndjson": JsonSource,
    ".avro": AvroSource,
}


def open_sources(named: Sequence[str], image_input: str | None) -> list[Source]:
    """Return a source for each file; images that stand beside each other are one.

    Args:
        named: Files, folders of images, or patterns of them such as `*.parquet`; a pattern's files come sorted.
        image_input: The model's input that is made of images; None: it has none.

    Raises:
        BatchError: A file is not there, of no known kind, or an image for a model that takes none.
    """
    sources: list[Source] = []
    images: list[Path] = []
    for path in _expanded(named):
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            images.append(path)
            continue
        sources += _gathered(images, image_input)
        images = []
        if path.is_dir():
            sources.append(_images(str(path), images_in(path), image_input))
        else:
            sources.append(_source(path))
    return sources + _gathered(images, image_input)


def _gathered(images: list[Path], image_input: str | None) -> list[Source]:
    return [_images(f"{images[0]} and {len(images) - 1} more", images, image_input)] if images else []


def _images(name: str, paths: list[Path], image_input: str | None) -> Source:
    if image_input is None:
        remedy = (
            "give a table, or register the version with an input that is made of images (docs/guides/processing.md)"
        )
        raise BatchError(f"reading {name}: images found, and the version declares no input made of them", remedy)
    return ImageSource(name, paths, image_input)


def _source(path: Path) -> Source:
    if path.suffix.lower() not in _KINDS:
        known = ", ".join([*_KINDS, *sorted(SUFFIXES)])
        raise BatchError(f"reading {path}: suffix {path.suffix!r} found", f"give files of these: {known}; or a folder")
    return _KINDS[path.suffix.lower()](path)


def _expanded(named: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for name in named:
        matching = sorted(glob(name)) if has_magic(name) and not Path(name).exists() else [name]  # noqa: PTH207 - a person's own pattern, with folders in it
        if not matching:
            raise BatchError(f"looking for inputs {name!r}: no file matches", "name files that are there")
        found += map(Path, matching)
    return found
