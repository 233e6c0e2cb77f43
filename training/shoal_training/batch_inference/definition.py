"""What the file of a batch inference says. It is read by `reading`, and run by `running`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from shoal_compression.values import Value, content_hash
from shoal_contract.ids import Name
from shoal_training.batch_inference.engines.engines import AnyEngine
from shoal_training.batch_inference.engines.local import LocalEngine
from shoal_training.batch_inference.schedule import Schedule
from shoal_training.batch_inference.sinks.sinks import AnySink
from shoal_training.ingestion.source import SchemaChange
from shoal_training.ingestion.sources import AnySource

MAX_PART_ROWS: Final = 1_000_000
Column = Annotated[str, Field(min_length=1, max_length=256)]


class ModelReference(Value):
    """The model that answers."""

    bundle: str = Field(default="", max_length=4096)
    """Its bundle's folder, relative to the file."""
    version: str = Field(default="", max_length=300, pattern=r"^$|^[\w.-]+@[\w.-]+$")
    """Or `name@alias`, `name@production` or `name@3` at the hub."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if bool(self.bundle) == bool(self.version):
            raise ValueError("expected `name@version`, or `bundle` with a folder; name the model")
        return self


def _reference(given: object) -> object:
    return {"version": given} if isinstance(given, str) else given


def _columns(given: object) -> object:
    if not isinstance(given, Mapping):
        return given
    return {name: (one,) if isinstance(one, str) else one for name, one in given.items()}


class BatchInference(Value):
    """A whole file."""

    name: Name
    source: AnySource
    """Where rows come from: any source of a pipeline; folders `column=value` become columns."""
    model: Annotated[ModelReference, BeforeValidator(_reference)]
    """`name@version` at the hub, or `{bundle: FOLDER}`."""
    inputs: Annotated[
        dict[str, Annotated[tuple[Column, ...], Field(min_length=1, max_length=65_536)]], BeforeValidator(_columns)
    ] = Field(default={}, max_length=16)
    """Columns by the model's input, one or several side by side, where they are not called as it is."""
    sink: AnySink
    """Where answers go."""
    keep: tuple[Column, ...] | None = Field(default=None, max_length=65_536)
    """Columns that go along with answers; all that are neither arrays nor bytes, without."""
    prefix: str = Field(default="", max_length=64)
    """Before the names of answers."""
    engine: AnyEngine = LocalEngine()
    batch_rows: int = Field(default=1024, ge=1, le=MAX_PART_ROWS)
    """Rows that the model gets at once."""
    part_rows: int = Field(default=65_536, ge=1, le=MAX_PART_ROWS)
    """Rows that are written as one; fewer of wide ones."""
    is_strict: bool = True
    """Whether a row that can not be read, or that the model can not take, ends the run; else it is left out."""
    schema_change: SchemaChange = Field(default="strict", alias="schema")
    """What is done where columns change between files: `strict` is an error, `widen` takes them all."""
    schedule: Schedule | None = None
    """When it runs by itself, at a hub."""

    @property
    def sha256(self) -> str:
        """Of all that decides what a run writes: not of where it is computed, nor when."""
        return content_hash(self._decided())

    def _decided(self) -> dict[str, Any]:
        fields = self.model_dump(mode="json", exclude={"engine", "schedule"})
        return {**fields, "kinds": [self.source.kind, self.sink.kind]}
