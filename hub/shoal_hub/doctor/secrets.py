"""Secrets: none in logs, in the database or in the arguments of a process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import JSON, Column, String, Text, inspect, select
from sqlalchemy import Table as SqlTable

from shoal_hub.doctor.check import Found, Patient, check, fail, ok, some
from shoal_hub.redaction import find_secrets
from shoal_hub.schema import METADATA

_OVERLAP_CHARS: Final = 8192
"""Carried from one part of a log to the next, so that a key that lies across their border is seen."""
_PART_BYTES: Final = 4 * 2**20
_ROWS: Final = 500
_ROTATE: Final = "revoke what was shown, make a new one, and then"


@check("secrets in logs")
def secrets_in_logs(patient: Patient) -> Found:
    """No log of the hub, its jobs or the broker holds a secret."""
    data = patient.settings.data
    logs = [*data.glob("run/*.log"), *data.glob("broker/*.log"), *data.glob("broker/*.out"), *data.glob("jobs/*/log")]
    found = [f"{path}: {', '.join(sorted(kinds))}" for path in sorted(logs) if (kinds := _kinds_in(path))]
    if not found:
        return ok(f"none in {len(logs)} logs")
    return fail(some(found), f"{_ROTATE} delete the log")


@check("secrets in the database")
def secrets_in_database(patient: Patient) -> Found:
    """No text of any table holds a secret; what is kept of secrets are hashes."""
    found, count = [], 0
    with patient.database.session() as session:
        connection = session.connection()
        existing = set(inspect(connection).get_table_names())
        for table in METADATA.sorted_tables:
            if table.name not in existing:
                continue
            columns = _texts(table)
            for row in connection.execute(select(*columns).execution_options(yield_per=_ROWS)) if columns else ():
                count += 1
                for column, value in zip(columns, row, strict=True):
                    if kinds := find_secrets(str(value)):
                        found.append(f"{table.name}.{column.name}: {', '.join(sorted(kinds))}")
    if not found:
        return ok(f"none in the texts of {count} rows")
    return fail(some(list(dict.fromkeys(found))), f"{_ROTATE} clear the column")


@check("secrets in arguments")
def secrets_in_arguments(patient: Patient) -> Found:
    """No process of the hub has a secret in its arguments, which every account of the machine can read."""
    lines = dict(_commands(patient.settings.data))
    kinds = {pid: sorted(find_secrets(line)) for pid, line in lines.items()}
    found = [f"process {pid}: {', '.join(shown)}" for pid, shown in kinds.items() if shown]
    if not found:
        return ok(f"none in {len(lines)} running processes")
    remedy = f"{_ROTATE} pass it by an environment variable or a file"
    return fail(some(found), remedy)


def _kinds_in(path: Path) -> set[str]:
    kinds: set[str] = set()
    before = ""
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            text = before + part.decode(errors="replace")
            kinds |= find_secrets(text)
            before = text[-_OVERLAP_CHARS:]
    return kinds


def _texts(table: SqlTable) -> list[Column[Any]]:
    return [column for column in table.columns if isinstance(column.type, String | Text | JSON)]


def _commands(data: Path) -> Iterator[tuple[int, str]]:
    """Yield the arguments of the hub's processes and all that they have started."""
    marks = [*data.glob("run/*.ready"), data / "run" / "ready", data / "broker" / "mosquitto.pid"]
    pids = {int(text) for mark in marks if mark.exists() and (text := mark.read_text().strip()).isdigit()}
    waiting, seen = list(pids), set[int]()
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        try:
            yield pid, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it has ended meanwhile
