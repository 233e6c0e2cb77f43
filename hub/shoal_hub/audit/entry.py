"""An entry of the trail, pure: its canonical bytes, its hash, and the line of an export that holds it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

START: Final = "0" * 64
"""What the first entry names as the hash before it."""
_FORM: Final = "shoal audit entry 1"
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_NOT_TEXT: Final = frozenset({"sequence", "at", "before", "after"})


@dataclass(frozen=True)
class Entry:
    """One change. `before` and `after` are canonical JSON texts: changed columns by row, by table and key."""

    sequence: int
    at: datetime
    actor_id: str
    actor_name: str
    actor_role: str
    actor_address: str
    action: str
    subject: str
    before: str
    after: str
    previous_sha256: str
    sha256: str = ""


def canonical_json(value: object) -> str:
    """Return the one text of a JSON value: sorted keys, no spaces, ASCII."""
    return _ENCODER.encode(value)


def canonical(entry: Entry) -> bytes:
    """Return the bytes of an entry that its hash covers: all but the hash."""
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    who = [entry.actor_id, entry.actor_name, entry.actor_role, entry.actor_address]
    what = [entry.action, entry.subject, entry.before, entry.after]
    return canonical_json([_FORM, entry.sequence, at, *who, *what, entry.previous_sha256]).encode()


def hash_entry(entry: Entry) -> str:
    """Return the SHA-256 that an entry must carry, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(entry)).hexdigest()


def to_export(entry: Entry) -> dict[str, Any]:
    """Return an entry as a line of an export holds it, `before` and `after` as objects."""
    plain = dict(vars(entry))
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    return plain | {"at": at, "before": json.loads(entry.before), "after": json.loads(entry.after)}


def from_export(line: bytes) -> Entry:
    """Read a line of an export.

    Raises:
        ValueError: It is not one of an export.
    """
    try:
        plain: Mapping[str, Any] = json.loads(line)
        texts = {name: str(plain[name]) for name in Entry.__dataclass_fields__ if name not in _NOT_TEXT}
        at = datetime.fromisoformat(plain["at"])
        before, after = canonical_json(plain["before"]), canonical_json(plain["after"])
        return Entry(sequence=int(plain["sequence"]), at=at, before=before, after=after, **texts)
    except (KeyError, TypeError) as error:
        msg = f"the line is not an entry of an audit export: {error!r}"
        raise ValueError(msg) from error


def iter_export(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Read an export of JSON lines; empty lines are passed over.

    Raises:
        ValueError: A line is none of an export; the error names it.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield from_export(line)
        except ValueError as error:
            msg = f"line {number}: {error}"
            raise ValueError(msg) from error
