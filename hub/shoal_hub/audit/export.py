"""The trail as files: JSON lines, which can be verified anywhere, and CSV, which a spreadsheet can open safely."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final

from sqlmodel import col, select

from shoal_hub.audit.entry import Entry, canonical_json, to_export
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.database import Database

_BATCH: Final = 500
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula."""


def entries_of(database: Database) -> Iterator[Entry]:
    """Read the whole trail, in order, a part at a time."""
    wanted = select(AuditEntry).order_by(col(AuditEntry.sequence)).execution_options(yield_per=_BATCH)
    with database.session() as session:
        for row in session.exec(wanted):
            yield row.to_entry()


def json_lines(database: Database) -> Iterator[bytes]:
    """Yield the trail, an entry a line."""
    for entry in entries_of(database):
        yield json.dumps(to_export(entry)).encode() + b"\n"


def csv_lines(database: Database) -> Iterator[bytes]:
    """Yield the trail as CSV (RFC 4180). A cell that a spreadsheet would run begins with an apostrophe."""
    yield _csv_line(list(Entry.__dataclass_fields__))
    for entry in entries_of(database):
        yield _csv_line([_cell(value) for value in to_export(entry).values()])


def _cell(value: Any) -> str:  # noqa: ANN401 - any field of an entry
    text = canonical_json(value) if isinstance(value, dict) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_line(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()
