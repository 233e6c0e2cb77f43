"""What the values of compression have in common: frozen, and written as JSON in one canonical way."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A value that is given from outside: an unknown field is an error, and so is a number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Record(BaseModel):
    """A value that was written by us: fields of a later release are tolerated."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def canonical_json(value: object) -> bytes:
    """Return the one JSON text of a value: keys sorted, no white space, no NaN.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def content_hash(value: object) -> str:
    """Return SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
