"""Data versions: what was read from sources, as one Parquet file that is named by its SHA-256, with its lineage.

Files are written in one way, so that the same rows in the same order are the same version, wherever they lay.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import AwareDatetime

from shoal_compression.output_folder import make_folder, says_unwritable
from shoal_compression.store import Store
from shoal_compression.values import Record
from shoal_training.errors import DataError
from shoal_training.ingestion.source import Reading, Source

if TYPE_CHECKING:
    import pyarrow as pa

RECORD_FILE: Final = "snapshot.json"
DATA_FILE: Final = "rows.parquet"
GROUP_ROWS: Final = 65_536
"""Of each row group, whatever came at once."""


class SnapshotRecord(Record):
    """What is known of a snapshot."""

    id: str
    """SHA-256 of the Parquet file."""
    rows: int
    columns: dict[str, str]
    """Arrow types by name."""
    sources: tuple[dict[str, Any], ...]
    """What it was first read from; see `Source.described`."""
    refused_rows: int
    made_at: AwareDatetime


@dataclass(frozen=True)
class Snapshot:
    """A snapshot on disk."""

    folder: Path
    record: SnapshotRecord

    def table(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """Read its rows, all columns or some."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / DATA_FILE, columns=columns)


@dataclass(frozen=True)
class SnapshotStore:
    """Snapshots in a folder; any number of processes may share it."""

    root: Path

    def find(self, snapshot_id: str) -> Snapshot | None:
        """Return a snapshot; None: there is none of this id."""
        folder = Store(self.root).find(snapshot_id)
        if folder is None:
            return None
        return Snapshot(folder, SnapshotRecord.model_validate_json((folder / RECORD_FILE).read_bytes()))

    def take(self, sources: Sequence[Source], reading: Reading) -> Snapshot:
        """Read sources one after the other, and keep their rows as a snapshot; of the same rows there is one.

        Raises:
            DataError: Nothing can be read, there is no row, or the sources' columns differ.
            OutputError: The folder can not be written, or the disk is full; nothing is left of the attempt.
        """
        make_folder(self.root)
        with says_unwritable(self.root), tempfile.TemporaryDirectory(dir=self.root, prefix=".taking-") as scratch:
            path = Path(scratch) / DATA_FILE
            rows, schema = _write(path, sources, reading)
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            record = SnapshotRecord(
                id=found,
                rows=rows,
                columns={one.name: str(one.type) for one in schema},
                sources=tuple(source.described() for source in sources),
                refused_rows=reading.refused_count,
                made_at=datetime.now(timezone.utc),
            )

            def fill(folder: Path) -> None:
                path.rename(folder / DATA_FILE)
                (folder / RECORD_FILE).write_text(record.model_dump_json(indent=2) + "\n")

            if self.find(found) is None:
                Store(self.root).put(found, fill)
        snapshot = self.find(found)
        if snapshot is None:
            raise DataError(f"taking a snapshot: {self.root / found} is gone again; leave the folder to this program")
        return snapshot


def _write(path: Path, sources: Sequence[Source], reading: Reading) -> tuple[int, "pa.Schema"]:
    """Write the rows of all sources in groups of one size; return their number and the schema."""
    import pyarrow.parquet as pq

    rows, schema, writer = 0, None, None
    try:
        for group in _groups(sources, reading):
            if writer is None:
                schema = group.schema.remove_metadata()
                writer = pq.ParquetWriter(path, schema, compression="zstd", version="2.6")
            writer.write_table(group.cast(schema), row_group_size=GROUP_ROWS)
            rows += len(group)
    finally:
        if writer is not None:
            writer.close()
    if schema is None or rows == 0:
        names = ", ".join(source.name or source.kind for source in sources)
        raise DataError(f"reading {names}: there is no row; look at the sources")
    return rows, schema


def _groups(sources: Sequence[Source], reading: Reading) -> Iterator["pa.Table"]:
    """Yield the rows of all sources in tables of `GROUP_ROWS` rows, the last one of fewer."""
    import pyarrow as pa

    held: list[pa.Table] = []
    first: tuple[str, pa.Schema] | None = None
    for source in sources:
        for table in source.tables(reading):
            if first is not None and not table.schema.equals(first[1]):
                raise DataError(
                    f"reading {source.name or source.kind}: its columns are {_columns(table.schema)}, those of "
                    f"{first[0]} {_columns(first[1])}; give the sources the same columns"
                )
            first = first or (source.name or source.kind, table.schema)
            held.append(table)
            while sum(map(len, held)) >= GROUP_ROWS:
                together = pa.concat_tables(held)
                yield together.slice(0, GROUP_ROWS)
                held = [together.slice(GROUP_ROWS)]
    if sum(map(len, held)):
        yield pa.concat_tables(held)


def _columns(schema: "pa.Schema") -> str:
    return ", ".join(f"{one.name} {one.type}" for one in schema)
