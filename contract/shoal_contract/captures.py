"""Captured samples on their way to the hub: which ones it asks for, and the form in which one travels.

Section `captures` of the desired state. It asks; what the device's owner does not let out stays there.
"""

from typing import Final, Literal

from pydantic import Field

from shoal_contract.errors import MessageError
from shoal_contract.ids import Name
from shoal_contract.limits import MAX_CAPTURE_BYTES
from shoal_contract.wire import Count, Ordinal, UtcTime, WireMessage, WireValue, parse_message

CaptureReason = Literal["random", "low_confidence", "disagreement", "class", "outside_baseline", "drifted"]
"""Why the rules of a device's owner have picked a sample."""
MAX_REQUEST_ID_CHARS: Final = 128
_MAX_RECORD_BYTES: Final = 8192


class DesiredCapture(WireValue):
    """Which captured samples of one model are sent, and how many at most."""

    reasons: tuple[CaptureReason, ...] = Field(default=(), max_length=6)
    """Samples that one of these has picked; none: all that are kept."""
    max_samples_per_day: int = Field(default=100, ge=1, le=100_000)
    """Of UTC."""
    max_bytes_per_day: int = Field(default=10_000_000, ge=1, le=10_000_000_000)
    after_s: float = Field(default=3600.0, ge=0, le=30 * 86_400)
    """How old a sample is before it is sent: its true label has so long to come back."""


class DesiredCaptures(WireValue):
    """Section `captures`: by model."""

    models: dict[Name, DesiredCapture] = Field(min_length=1, max_length=64)


class CaptureRecord(WireMessage):
    """What is known of a sample; `name` is what the device calls it, which makes it the same one if it comes again."""

    name: str = Field(pattern=r"^[0-9]{13,15}-[0-9a-f]{8}$")
    model: Name
    version: Ordinal
    request_id: str = Field(max_length=MAX_REQUEST_ID_CHARS)
    sample: Count = 0
    """Its place in the request."""
    at: UtcTime
    reasons: tuple[CaptureReason, ...] = Field(min_length=1, max_length=6)
    label: Count | None = None
    """That the version chose; None where it chooses none."""
    confidence: float | None = None
    true_label: Count | None = None
    """That came back as feedback; None: none came before the sample was sent."""


def pack_capture(record: CaptureRecord, sample: bytes) -> bytes:
    """Return a sample as it travels: a line of JSON, then `.npz` with an array for each input of the model.

    Raises:
        MessageError: It is larger than any hub takes.
    """
    packed = record.to_bytes() + b"\n" + sample
    if len(packed) > MAX_CAPTURE_BYTES:
        msg = f"packing a captured sample: {len(packed)} bytes found, at most {MAX_CAPTURE_BYTES} are sent"
        raise MessageError(msg)
    return packed


def split_capture(packed: bytes) -> tuple[CaptureRecord, bytes]:
    """Return what is known of a sample, and its `.npz`, which nobody has looked into.

    Raises:
        MessageError: It has another form, or is too large.
    """
    if len(packed) > MAX_CAPTURE_BYTES:
        msg = f"reading a captured sample: {len(packed)} bytes found, at most {MAX_CAPTURE_BYTES} allowed"
        raise MessageError(msg)
    line, _, sample = packed.partition(b"\n")
    return parse_message(CaptureRecord, line, _MAX_RECORD_BYTES), sample
