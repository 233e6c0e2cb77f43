"""The base of every message: frozen, versioned, bounded on receipt, tolerant of fields it does not know."""

import re
from datetime import datetime, timezone
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_INTEGER

SCHEMA_VERSION: Final = 1
Message = TypeVar("Message", bound="WireMessage")

_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MAX_DETAIL_CHARS: Final = 300


def _to_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(timezone.utc)
    except OverflowError as error:
        msg = f"{time.isoformat()} lies outside of the years 1 to 9999 in UTC"
        raise ValueError(msg) from error


def _check_version(version: int) -> int:
    if version > SCHEMA_VERSION:
        msg = f"version {version} found, at most {SCHEMA_VERSION} understood; update this side of Shoal"
        raise ValueError(msg)
    return version


Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Ordinal = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A time with an offset; read as UTC, whatever offset it came with."""


class WireValue(BaseModel):
    """A part of a message. Unknown fields are ignored, so that a newer sender can talk to an older reader."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants", allow_inf_nan=False)


class WireMessage(WireValue):
    """A whole message. `schema_version` rises only when an older reader would misunderstand."""

    schema_version: Annotated[int, Field(ge=1), AfterValidator(_check_version)] = SCHEMA_VERSION

    def to_bytes(self) -> bytes:
        """Return the message as compact UTF-8 JSON; fields that are None are left out."""
        return self.model_dump_json(exclude_none=True).encode()


def parse_message(kind: type[Message], data: bytes, max_bytes: int) -> Message:
    """Read one message from untrusted bytes.

    Args:
        kind: The message class that the topic asks for.
        data: The received payload.
        max_bytes: The bound from `shoal_contract.limits` for this kind.

    Raises:
        MessageError: The payload is larger than `max_bytes`, no JSON, not of the form of `kind`, or holds a NUL
            character, which no database of the hub's can store as text.
    """
    message = parse_outer(kind, data, max_bytes)
    return without_nul(message) if may_hold_nul(data) else message


def parse_outer(kind: type[Message], data: bytes, max_bytes: int) -> Message:
    """Read a message whose parts are read by `read_part`: as `parse_message`, but a NUL character passes.

    Raises:
        MessageError: The payload is larger than `max_bytes`, no JSON, or not of the form of `kind`.
    """
    if len(data) > max_bytes:
        msg = f"reading {kind.__name__}: {len(data)} bytes found, at most {max_bytes} allowed; the sender must split it"
        raise MessageError(msg)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise _told(kind, error) from error


def read_part(kind: type[Message], part: object, *, has_nul: bool) -> Message:
    """Read a message that stands inside another one, whose size has been checked.

    Args:
        kind: The message class that the outer message asks for.
        part: It, as values of JSON.
        has_nul: What `may_hold_nul` says of the outer message.

    Raises:
        MessageError: As `parse_message`.
    """
    try:
        message = kind.model_validate(part)
    except ValidationError as error:
        raise _told(kind, error) from error
    return without_nul(message) if has_nul else message


def may_hold_nul(data: bytes) -> bool:
    """Whether a text in JSON may hold a NUL character, or only look as if it did."""
    return b"\\u0000" in data


def without_nul(message: Message) -> Message:
    """Return a message whose payload may hold a NUL character, if none of its texts does.

    It is asked of what was read: a field that this side ignores may hold what it likes.

    Raises:
        MessageError: A text holds it.
    """
    if _NUL.search(message.to_bytes()):
        name = type(message).__name__
        msg = f"reading {name}: a text holds the NUL character (\\u0000); the sender must leave it out"
        raise MessageError(msg)
    return message


def _told(kind: type[WireMessage], error: ValidationError) -> MessageError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole message"
    detail = f"{where[:_MAX_DETAIL_CHARS]}: {first['msg'][:_MAX_DETAIL_CHARS]}"
    return MessageError(f"reading {kind.__name__}: {detail} ({error.error_count()} problems)")
