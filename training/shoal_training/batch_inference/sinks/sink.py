"""What a sink is: a few fields that say where answers go, and a writer that takes each part whole or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shoal_compression.values import Value
from shoal_training.batch_inference.manifest import Manifest, WrittenPart

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class SinkContext:
    """What goes with writing the parts of a run.

    Attributes:
        run: The run's id.
        folder: That paths are relative to: the file's.
        notes: A folder of the run's own, which lasts until it has ended.
    """

    run: str
    folder: Path
    notes: Path


class Writer(ABC):
    """Writes the parts of one run; may be another process's that was killed amid it."""

    @abstractmethod
    def written(self) -> Mapping[int, WrittenPart]:
        """Return the parts of the run that are there whole, by number.

        Raises:
            SinkError: The sink can not be asked.
        """

    @abstractmethod
    def write(self, part: int, table: "pa.Table | None") -> WrittenPart:
        """Write a part that `written` does not name, whole or not at all.

        Args:
            part: Its number.
            table: Its answers; None: it has none, and is noted.

        Raises:
            SinkError: The sink does not take it; what it has of it is found and put right by the next attempt.
        """

    @abstractmethod
    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, when all parts are there: at once, or not at all. Called again, it changes nothing.

        Raises:
            SinkError: The sink does not take it.
        """


class Sink(Value, ABC):
    """Where answers go. Subclasses name their `kind`, declare fields, and open a writer."""

    kind: ClassVar[str]
    """By which a file names it."""
    is_exactly_once: ClassVar[bool]
    """Whether a run that is killed and gone on with leaves each row once; else a part may be sent again, under the same
    keys."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What errors and progress call it."""

    @abstractmethod
    def opened(self, context: SinkContext) -> AbstractContextManager[Writer]:
        """Reach the sink, and give what writes to it.

        Raises:
            SinkError: It can not be reached, or is not as it is described.
        """

    def described(self) -> dict[str, Any]:
        """Return the fields for the record, without secrets."""
        return {"kind": self.kind, **self.model_dump(mode="json")}


def content_sha256(table: "pa.Table | None") -> str:
    """Return the hash of rows, the same however they came."""
    import pyarrow.parquet as pq

    if table is None:
        return sha256(b"").hexdigest()
    buffer = BytesIO()
    pq.write_table(table.combine_chunks(), buffer, compression="none", write_statistics=False)
    return sha256(buffer.getbuffer()).hexdigest()
