"""What a run has written: the parts, each with its hash. The manifest is written last: with it a run counts."""

from typing import Any

from pydantic import AwareDatetime

from shoal_compression.values import Record


class WrittenFile(Record):
    """A file of a part.

    Attributes:
        path: Below the sink's path.
        sha256: Of its content.
        size_bytes: Likewise.
    """

    path: str
    sha256: str
    size_bytes: int


class WrittenPart(Record):
    """A part that a sink has taken whole.

    Attributes:
        number: From 1.
        rows: Of the answer; a row that the model could not take is in none.
        sha256: Of the answer's rows, however the sink keeps them.
        files: Where it keeps files.
    """

    number: int
    rows: int
    sha256: str
    files: tuple[WrittenFile, ...] = ()


class ModelIdentity(Record):
    """Which model has answered.

    Attributes:
        name: Of the bundle.
        sha256: Of its ONNX file.
        declared_sha256: Of what is declared beside it: inputs, outputs, processing, labels, features.
        version: `name@ref` as it was asked for; empty: a bundle's folder.
        number: Of the version at the hub, where it is known.
    """

    name: str
    sha256: str
    declared_sha256: str = ""
    version: str = ""
    number: int | None = None


class Manifest(Record):
    """A finished run."""

    run: str
    name: str
    """Of the batch inference."""
    model: ModelIdentity
    source: dict[str, Any]
    rows: int
    """That were answered."""
    refused_rows: int
    """That could not be read, or that the model could not take, and were left out."""
    parts: tuple[WrittenPart, ...]
    finished_at: AwareDatetime
