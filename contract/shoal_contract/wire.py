"""The base of every message: frozen, versioned, bounded on receipt, tolerant of fields it does not know."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_contract.errors import MessageError

Message = TypeVar("Message", bound="WireMessage")


class WireValue(BaseModel):
    """A part of a message. Unknown fields are ignored, so that a newer sender can talk to an older reader."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants", allow_inf_nan=False)


class WireMessage(WireValue):
    """A whole message. `schema_version` rises only when an older reader would misunderstand."""

    schema_version: int = Field(default=1, ge=1, le=1)

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
        MessageError: The payload is larger than `max_bytes`, no JSON, or not of the form of `kind`.
    """
    if len(data) > max_bytes:
        msg = f"reading {kind.__name__}: {len(data)} bytes found, at most {max_bytes} allowed; the sender must split it"
        raise MessageError(msg)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole message"
        msg = f"reading {kind.__name__}: {where}: {first['msg']} ({error.error_count()} problems)"
        raise MessageError(msg) from error
