"""Data versions: what was read from sources, as one Parquet file that is named by its SHA-256, with its lineage.

Files are written in one way, so that the same rows in the same order are the same version, wherever they lay.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import AwareDatetime, ValidationError

from shoal_compression.output_folder import make_folder, says_unwritable
from shoal_compression.store import Store
from shoal_compression.values import Record
from shoal_training.errors import DataError
from shoal_training.ingestion.row_sizes import row_groups
from shoal_training.ingestion.schemas import conform, difference, plain, widened
from shoal_training.ingestion.source import Reading, RefusedRow, Source

if TYPE_CHECKING:
    import pyarrow as pa

RECORD_FILE: Final = "snapshot.json"
DATA_FILE: Final = "rows.parquet"
REFUSED_FILE: Final = "refused.jsonl"


class SnapshotRecord(Record):
    """What is known of a snapshot."""

    id: str
    """SHA-256 of the Parquet file."""
    rows: int
    columns: dict[str, str]
    """Arrow types by name."""
    sources: tuple[dict[str, Any], ...]
    """What it was first read from: fields as of `Source.described`, `fingerprint`, and how many `rows` and
    `refused_rows` each has had."""
    refused_rows: int
    made_at: AwareDatetime
    size_bytes: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A snapshot on disk."""

    folder: Path
    record: SnapshotRecord

    @property
    def path(self) -> Path:
        """Its rows, as Parquet."""
        return self.folder / DATA_FILE

    def table(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """Read its rows, all columns or some."""
        import pyarrow.parquet as pq

        return pq.read_table(self.path, columns=columns)

    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator["pa.Table"]:
        """Yield its rows, so many at most at a time: for those that have no room for all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])

    def refused(self) -> list[RefusedRow]:
        """Return the rows that were left out when it was read; the first of them, where there were very many."""
        path = self.folder / REFUSED_FILE
        lines = path.read_text().splitlines() if path.is_file() else []
        return [RefusedRow.model_validate_json(line) for line in lines]


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

    def get(self, start: str) -> Snapshot:
        """Return the one snapshot whose id starts so; `latest` is the one that was made last.

        Raises:
            DataError: There is none, or more than one.
        """
        snapshots = self.all()
        found = snapshots[:1] if start == "latest" else [one for one in snapshots if one.record.id.startswith(start)]
        if len(found) != 1:
            told = ", ".join(one.record.id[:12] for one in (found or snapshots)[:10]) or "none"
            raise DataError(
                f"looking for the snapshot {start} in {self.root}: {len(found)} found, one expected; there are {told}"
            )
        return found[0]

    def all(self) -> list[Snapshot]:
        """Return all snapshots, the latest first; folders that are none are left out."""
        found = []
        for path in self.root.glob(f"*/{RECORD_FILE}"):
            try:
                found.append(Snapshot(path.parent, SnapshotRecord.model_validate_json(path.read_bytes())))
            except (OSError, ValidationError):  # another process prunes, or it is somebody's own
                continue
        return sorted(found, key=lambda one: (one.record.made_at, one.record.id), reverse=True)

    def prune(self, max_bytes: int, keep: Collection[str] = ()) -> list[Snapshot]:
        """Remove the oldest snapshots until the others take at most so much; the latest stays in any case.

        Args:
            max_bytes: Of all that stay.
            keep: Ids of those that stay whatever they take.

        Raises:
            OutputError: The folder can not be written.
        """
        snapshots, removed = self.all(), []
        total = sum(_size(one.folder) for one in snapshots)
        for one in reversed(snapshots[1:]):
            if total <= max_bytes:
                break
            if one.record.id in keep:
                continue
            total -= _size(one.folder)
            with says_unwritable(self.root):
                _remove(one.folder)
            removed.append(one)
        return removed

    def take(self, sources: Sequence[Source], reading: Reading) -> Snapshot:
        """Read sources one after the other, and keep their rows as a snapshot; of the same rows there is one.

        Raises:
            DataError: Nothing can be read, there is no row, the sources' columns differ, or change while they are read.
            OutputError: The folder can not be written, or the disk is full; nothing is left of the attempt.
        """
        make_folder(self.root)
        store = Store(self.root)
        store.clear_unfinished()
        prefix = f".new-{os.getpid()}-"  # which a later process clears, if this one is killed
        with says_unwritable(self.root), tempfile.TemporaryDirectory(dir=self.root, prefix=prefix) as scratch:
            path = Path(scratch) / DATA_FILE
            record = _write(path, _Sources(sources, reading))

            def fill(folder: Path) -> None:
                path.rename(folder / DATA_FILE)
                (folder / RECORD_FILE).write_text(record.model_dump_json(indent=2) + "\n")
                lines = [f"{one.model_dump_json()}\n" for one in reading.refused]
                (folder / REFUSED_FILE).write_text("".join(lines))

            if self.find(record.id) is None:
                store.put(record.id, fill)
        snapshot = self.find(record.id)
        if snapshot is None:
            raise DataError(
                f"taking a snapshot: {self.root / record.id} is gone again; leave the folder to this program"
            )
        return snapshot


@dataclass
class _Sources:
    """Sources that are read one after the other, with what each has given."""

    sources: Sequence[Source]
    reading: Reading

    def __post_init__(self) -> None:
        self.lineage: list[dict[str, Any]] = []
        self.schema: pa.Schema | None = self._widened() if self.reading.schema_change == "widen" else None
        self._first = ""

    def tables(self) -> Iterator["pa.Table"]:
        """Yield the rows of all, in one schema.

        Raises:
            DataError: As for `SnapshotStore.take`.
        """
        for source in self.sources:
            before, refused, rows = self._fingerprint(source), self.reading.refused_count, 0
            for table in _reached(source, self.reading):
                rows += len(table)
                yield self._conformed(table, source)
            if before != self._fingerprint(source):
                raise DataError(f"reading {source.label}: it changed while it was read; read it when it is whole")
            given = {"rows": rows, "refused_rows": self.reading.refused_count - refused}
            self.lineage.append({**source.described(), "fingerprint": before, **given})

    def _fingerprint(self, source: Source) -> str | None:
        return source.fingerprint(self.reading)

    def _widened(self) -> "pa.Schema | None":
        schema: pa.Schema | None = None
        for source in self.sources:
            own = source.schema_of(self.reading)
            if own is None:
                continue
            try:
                schema = own if schema is None else widened(schema, own)
            except DataError as error:
                raise DataError(f"reading {source.label} after {self.sources[0].label}: {error}") from error
        return schema

    def _conformed(self, table: "pa.Table", source: Source) -> "pa.Table":
        if self.schema is None:
            self.schema, self._first = plain(table.schema), source.label
        own = plain(table.schema)
        new = [name for name in own.names if name not in self.schema.names]
        if (self.reading.schema_change == "strict" or new) and (told := difference(self.schema, own)):
            raise DataError(
                f"reading {source.label}: its columns are not those of {self._first or 'the others'}: {told}; give the "
                "sources the same columns, or say `schema: widen`"
            )
        try:
            return conform(table, self.schema)
        except DataError as error:
            raise DataError(f"reading {source.label}: {error}") from error


def _reached(source: Source, reading: Reading) -> Iterator["pa.Table"]:
    """Yield a source's tables, and let what can not be reached say so: the snapshot's own folder does as well."""
    try:
        yield from source.tables(reading)
    except OSError as error:
        raise DataError(f"reading {source.label}: {error}; see that it is there and may be read") from error
    except ImportError as error:
        raise DataError(f"reading {source.label}: {error}; pip install 'shoal[train]'") from error


def _write(path: Path, sources: _Sources) -> SnapshotRecord:
    """Write the rows of all sources, and describe them."""
    import pyarrow.parquet as pq

    rows, writer = 0, None
    try:
        for group in row_groups(sources.tables()):
            writer = writer or pq.ParquetWriter(path, group.schema, compression="zstd", version="2.6")
            writer.write_table(group, row_group_size=len(group))
            rows += len(group)
    finally:
        if writer is not None:
            writer.close()
    if sources.schema is None or rows == 0:
        names = ", ".join(source.label for source in sources.sources)
        raise DataError(f"reading {names}: there is no row; look at the sources")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return SnapshotRecord(
        id=found,
        rows=rows,
        columns={one.name: str(one.type) for one in sources.schema},
        sources=tuple(sources.lineage),
        refused_rows=sources.reading.refused_count,
        made_at=datetime.now(timezone.utc),
        size_bytes=path.stat().st_size,
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _remove(folder: Path) -> None:
    """Remove a folder so that no other process finds half of it."""
    gone = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".new-{os.getpid()}-"))
    folder.rename(gone / folder.name)
    shutil.rmtree(gone)
