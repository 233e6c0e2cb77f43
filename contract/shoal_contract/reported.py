"""What a device says of itself: presence and reported state. Both are retained and only move forward."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from pydantic import Field

from shoal_contract.ids import Name, Sha256
from shoal_contract.wire import Count, Ordinal, UtcTime, WireMessage, WireValue

Runtime = Literal["onnxruntime", "litert"]
ModelFormat = Literal["onnx", "tflite"]
RUNTIME_FORMATS: Final[Mapping[Runtime, ModelFormat]] = MappingProxyType({"onnxruntime": "onnx", "litert": "tflite"})
"""The form of file that a runtime loads, and its suffix."""
RUNTIME_WORDS: Final[Mapping[Runtime, str]] = MappingProxyType({"litert": "litert", "onnxruntime": "onnx"})
"""What targets, and the extras that install them, call the runtimes."""
SectionState = Literal["applied", "working", "failed", "held"]
MAX_REPORTED_MODELS: Final = 64
MAX_REPORTED_SECTIONS: Final = 128
CONNECTION_LOST: Final = "connection lost"
"""The reason in a will: the broker says it, not the device, which may be on its way back."""


class Presence(WireMessage):
    """The payload of `up/presence`; the offline form is also the connection's will.

    `connection` counts the device's connections; an `offline` of an older one is ignored. An `offline` whose reason is
    `connection lost` is a will, which the broker publishes at once: the hub shows the device as offline only if it has
    not come back within a grace. `instance` is made anew at each start of the agent: one that comes back after another
    was there means that two places use one identity.
    """

    state: Literal["online", "offline"]
    connection: Count
    sequence: Count
    since: UtcTime
    reason: str = Field(default="", max_length=256)
    instance: str = Field(pattern=r"^[0-9a-f]{16}$")


class Problem(WireValue):
    """An error with its remedy, as a person at the hub should read it."""

    code: str = Field(max_length=64)
    message: str = Field(max_length=1024)
    remedy: str = Field(max_length=512)


class Hardware(WireValue):
    """What the device is: `model` as the board names itself, `kind` as targets are chosen by."""

    kind: Literal["raspberry-pi", "jetson", "generic"]
    model: str = Field(max_length=128)
    architecture: str = Field(max_length=32)
    cores: Ordinal
    memory_bytes: Count
    l4t: str | None = Field(default=None, max_length=32)


class SlotReport(WireValue):
    """A version in one of the roles `active`, `previous`, `candidate`."""

    version: Ordinal
    target: Name
    sha256: Sha256
    state: Literal["good", "bad", "unproven"]


class FallbackReport(WireValue):
    """The version before answers, as the device's own evidence says that the active one's inputs have drifted."""

    version: Ordinal
    since_at: UtcTime
    features: Count
    """Of the active version: how many have drifted."""


class ModelReport(WireValue):
    """The slots of one model."""

    active: SlotReport | None = None
    previous: SlotReport | None = None
    candidate: SlotReport | None = None
    fallback: FallbackReport | None = None
    """What answers instead of the active version now; None: that one does."""


class SectionReport(WireValue):
    """How far the device is with one section of its desired state."""

    state: SectionState
    step: str = Field(default="", max_length=64)
    deployment: str = Field(default="", max_length=64)
    problem: Problem | None = None


class TrustReport(WireValue):
    """How far the device is with what it believes: the versions of TUF's roles, the directors' epochs, its clock."""

    root_version: Count
    timestamp_version: Count
    targets_version: Count
    epochs: tuple[Ordinal, ...] = Field(default=(), max_length=64)
    """Of the directors whose desired states the device accepts."""
    floor_at: UtcTime
    """The device takes no time before this one for true."""
    problem: Problem | None = None
    """Why the last refresh failed; what was trusted before still is."""


class ReportedState(WireMessage):
    """The payload of `up/reported`.

    `sections` is keyed like `models/digits`, `federated/<run>`, `features/<pipeline>`, `compositions/<name>`, `config`.
    """

    connection: Count
    sequence: Count
    at: UtcTime
    epoch: Count
    generation: Count
    agent_version: str = Field(max_length=64)
    time_zone: str = Field(default="", max_length=64)
    """IANA name, or the offset as `+02:00`, of the device's local time; empty if it has not said."""
    hardware: Hardware
    memory_available_bytes: Count | None = None
    """What programs could still take as the report was made (Linux's `MemAvailable`); None where it is not known."""
    runtimes: tuple[Runtime, ...]
    targets: tuple[Name, ...] = Field(max_length=64)
    """Targets that this device can run, best first."""
    datasets: dict[Name, Count] = Field(default_factory=dict, max_length=64)
    """Labelled examples on the device, by dataset; the examples themselves stay there."""
    models: dict[Name, ModelReport] = Field(default_factory=dict, max_length=MAX_REPORTED_MODELS)
    sections: dict[str, SectionReport] = Field(default_factory=dict, max_length=MAX_REPORTED_SECTIONS)
    trust: TrustReport | None = None
    problem: Problem | None = None
    """A problem with the desired state as a whole: a broken signature, an older generation, an expiry."""
