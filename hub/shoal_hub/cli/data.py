"""`shoal data`: versions of the data that pipelines on this machine have read, and what differs between two of them."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from shoal_client import ClientError
from shoal_compression.errors import CompressionError
from shoal_hub.cli.output import AsJson, console, errors, facts, show, size_text, table
from shoal_training.errors import TrainingError
from shoal_training.ingestion.snapshot_diff import ColumnChange, SnapshotDiff, diff
from shoal_training.ingestion.snapshots import Snapshot, SnapshotRecord, SnapshotStore
from shoal_training.ingestion.source import Reading, RefusedRow
from shoal_training.pipeline.reading import read_pipeline
from shoal_training.progress import silent, terminal_bars

app = typer.Typer(
    help="Data: the versions that pipelines on this machine have read, each known by its content.", no_args_is_help=True
)

Store = Annotated[Path, typer.Option(help="Folder of results, as of `shoal train`.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A version's id, its first letters, or latest.")]
_STORE = Path(".shoal-train")
_SHOWN_REFUSED = 20


class _Shown(BaseModel):
    """A version with the rows that were left out."""

    snapshot: SnapshotRecord
    refused: list[RefusedRow]


class _Pruned(BaseModel):
    """What was removed."""

    removed: list[str]
    freed_bytes: int
    kept: int


@app.command("list", epilog="Example: shoal data list")
def list_versions(store: Store = _STORE, as_json: AsJson = False) -> None:
    """List the versions of the data, the latest first."""
    found = [one.record for one in _snapshots(store).all()]
    rows = [
        (one.id[:12], one.rows, len(one.columns), one.refused_rows, size_text(one.size_bytes), one.made_at, _names(one))
        for one in found
    ]
    columns = ("ID", "ROWS", "COLUMNS", "REFUSED", "SIZE", "MADE", "FROM")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="No data yet: shoal data take PIPELINE"))


@app.command("show", epilog="Example: shoal data show latest")
def show_version(version: Id, store: Store = _STORE, as_json: AsJson = False) -> None:
    """Show a version: its columns, what it was read from, and the rows that were left out."""
    with _told():
        found = _snapshots(store).get(version)
        shown = _Shown(snapshot=found.record, refused=found.refused())
    show(shown, as_json=as_json, draw=lambda: _draw(found, shown.refused))


@app.command("take", epilog="Example: shoal data take pipeline.yaml")
def take(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline file.", exists=True, dir_okay=False)],
    store: Store = _STORE,
    as_json: AsJson = False,
) -> None:
    """Read what a pipeline's `data_ingestion` names, and keep it as a version; nothing is trained."""
    with _told(), nullcontext(silent) if as_json or not errors.is_terminal else terminal_bars() as progress:
        ingestion = read_pipeline(file).pipeline.data_ingestion
        reading = Reading(file.parent, progress, is_strict=ingestion.is_strict, schema_change=ingestion.schema_change)
        found = _snapshots(store).take(ingestion.sources, reading)
    show(found.record, as_json=as_json, draw=lambda: _draw(found, reading.refused))


@app.command("diff", epilog="Example: shoal data diff 3fd1a2 latest --key id")
def compare(
    before: Id,
    after: Id,
    key: Annotated[list[str] | None, typer.Option(help="A column that tells rows apart; may be repeated.")] = None,
    store: Store = _STORE,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: rows by a key (or as a whole), columns, nulls and means."""
    with _told():
        snapshots = _snapshots(store)
        found = diff(snapshots.get(before), snapshots.get(after), key or ())
    show(found, as_json=as_json, draw=lambda: _draw_diff(found))


@app.command("prune", epilog="Example: shoal data prune --max-gb 20")
def prune(
    max_gb: Annotated[float, typer.Option(min=0, help="What all versions together may take, in GB.")],
    keep: Annotated[list[str] | None, typer.Option(help="A version that stays in any case; may be repeated.")] = None,
    store: Store = _STORE,
    as_json: AsJson = False,
) -> None:
    """Remove the oldest versions until the others fit; the latest stays in any case."""
    with _told():
        snapshots = _snapshots(store)
        removed = snapshots.prune(int(max_gb * 1e9), [snapshots.get(one).record.id for one in keep or ()])
    freed = sum(one.record.size_bytes for one in removed)
    told = _Pruned(removed=[one.record.id for one in removed], freed_bytes=freed, kept=len(snapshots.all()))
    line = f"{len(removed)} removed, {size_text(freed)} freed, {told.kept} kept"
    show(told, as_json=as_json, draw=lambda: console.print(line))


def _snapshots(store: Path) -> SnapshotStore:
    return SnapshotStore(store / "snapshots")


@contextmanager
def _told() -> Iterator[None]:
    """Let errors of training be the command line's own."""
    try:
        yield
    except (TrainingError, CompressionError) as error:
        raise ClientError(str(error), "") from error


def _names(record: SnapshotRecord) -> str:
    return ", ".join(str(one.get("name") or one.get("path") or one.get("url") or one["kind"]) for one in record.sources)


def _draw(snapshot: Snapshot, refused: list[RefusedRow]) -> None:
    record = snapshot.record
    facts(
        [
            ("id", record.id),
            ("rows", record.rows),
            ("size", size_text(record.size_bytes)),
            ("made", record.made_at),
            ("refused", record.refused_rows),
            ("file", snapshot.path),
        ]
    )
    table(("COLUMN", "TYPE"), record.columns.items(), empty="no column")
    sources = [
        (
            _names(record.model_copy(update={"sources": (one,)})),
            one["kind"],
            one.get("rows"),
            str(one.get("fingerprint") or "")[:12],
        )
        for one in record.sources
    ]
    table(("SOURCE", "KIND", "ROWS", "FINGERPRINT"), sources, empty="no source")
    if refused:
        rows = [(one.source, one.row, one.reason) for one in refused[:_SHOWN_REFUSED]]
        table(("REFUSED IN", "ROW", "WHY"), rows, empty="")
    if record.refused_rows > _SHOWN_REFUSED:
        console.print(f"… {record.refused_rows} in all; with --json those that are kept")


def _draw_diff(found: SnapshotDiff) -> None:
    facts(
        [
            ("before", f"{found.before[:12]}, {found.rows_before} rows"),
            ("after", f"{found.after[:12]}, {found.rows_after} rows"),
            ("added", _with_some(found.added, found.examples["added"])),
            ("removed", _with_some(found.removed, found.examples["removed"])),
            (
                "changed",
                "not told without --key"
                if found.changed is None
                else _with_some(found.changed, found.examples["changed"]),
            ),
        ]
    )
    twice = found.duplicate_keys_before + found.duplicate_keys_after
    if twice:
        errors.print(f"[yellow]warning[/yellow] {_with_some(twice, found.examples['duplicate'])} duplicate keys")
    for told, names in (("new", found.columns_added), ("gone", found.columns_removed)):
        for name, kind in names.items():
            console.print(f"column {name} is {told}: {kind}", markup=False)
    for name, (before, after) in found.columns_retyped.items():
        console.print(f"column {name} is {after} instead of {before}", markup=False)
    rows = [_column_row(one) for one in found.columns]
    table(("COLUMN", "CHANGED", "NULLS BEFORE", "AFTER", "MEAN BEFORE", "AFTER"), rows, empty="no column")


def _column_row(one: ColumnChange) -> tuple[object, ...]:
    nulls = [None if share is None else f"{share:.2%}" for share in (one.null_share_before, one.null_share_after)]
    return one.name, one.changed_rows, *nulls, one.mean_before, one.mean_after


def _with_some(count: int, some: list[dict[str, str]]) -> str:
    shown = "; ".join(", ".join(f"{name}={value}" for name, value in row.items()) for row in some)
    return f"{count}" + (f" ({shown}{'; …' if count > len(some) else ''})" if some else "")
