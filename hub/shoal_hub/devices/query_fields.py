"""The fields of a device that a query can name: what each is read from, and how its values compare. Pure.

Fields are read from whatever has the columns: a `Device`, or a row of only those columns that the query needs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias, get_args

from sqlalchemy import Row

from shoal_contract.ids import NAME_PATTERN
from shoal_contract.reported import Hardware, Runtime, SectionState
from shoal_hub.devices.tables import Device, Presence

DeviceRow: TypeAlias = Device | Row[Any]
"""A device, or a row of some of its columns."""


class Kind(StrEnum):
    """How the values of a field compare."""

    TEXT = "a text"
    TEXTS = "a list of texts"
    """One of them has to compare."""
    TAG = "a tag"
    """A text; where it is a number it has an order, too."""
    VERSION = "a version"
    """A text; where it is a version of PEP 440 it has that order, too."""
    NUMBER = "a number"
    AGE = "an age"
    """The time since then."""
    TIME_LEFT = "a time that is left"
    """The time until then."""


_EQUAL: Final = ("=", "!=", "in")
_ORDER: Final = ("<", "<=", ">", ">=")
OPERATORS: Final[Mapping[Kind, Sequence[str]]] = {
    Kind.TEXT: (*_EQUAL, "~"),
    Kind.TEXTS: (*_EQUAL, "~"),
    Kind.TAG: (*_EQUAL, "~", *_ORDER),
    Kind.VERSION: (*_EQUAL, "~", *_ORDER),
    Kind.NUMBER: (*_EQUAL, *_ORDER),
    Kind.AGE: _ORDER,
    Kind.TIME_LEFT: _ORDER,
}
"""What a field of each kind can be compared by."""


@dataclass(frozen=True)
class Field:
    """One field as a query names it.

    Attributes:
        name: As it is written, like `models.digits.version`.
        kind: How its values compare.
        columns: The columns of `Device` that it is read from.
        read: Returns the value of a device, None where the device has none.
        words: The only texts that it can be, if they are few.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    read: Callable[[DeviceRow], Any] = field(compare=False, repr=False)
    words: tuple[str, ...] = ()


def find_field(name: str) -> Field | None:
    """Return the field of this name, or None if devices have no such field."""
    if name in _PLAIN:
        return _PLAIN[name]
    family, _, rest = name.partition(".")
    if family == "models":
        model, _, part = rest.rpartition(".")
        return _model_field(name, model, part) if re.match(NAME_PATTERN, model) else None
    if not re.match(NAME_PATTERN, rest):
        return None
    if family == "tags":
        return Field(name, Kind.TAG, ("tags",), lambda device: device.tags.get(rest))
    if family == "datasets":
        return Field(name, Kind.NUMBER, ("reported",), lambda device: _reported(device, "datasets").get(rest))
    return None


def _model_field(name: str, model: str, part: str) -> Field | None:
    kind = {"version": Kind.NUMBER, "target": Kind.TEXT, "state": Kind.TEXT}.get(part)
    if kind is None:
        return None

    def read_section(device: DeviceRow) -> object:
        return _reported(device, "sections").get(f"models/{model}", {}).get("state")

    def read_active(device: DeviceRow) -> object:
        slots = _reported(device, "models").get(model) or {}
        return (slots.get("active") or {}).get(part)

    if part == "state":
        return Field(name, kind, ("reported",), read_section, get_args(SectionState))
    return Field(name, kind, ("reported",), read_active)


def _reported(device: DeviceRow, part: str) -> dict[str, Any]:
    return (device.reported or {}).get(part) or {}


def _column(name: str, kind: Kind = Kind.TEXT, words: tuple[str, ...] = (), column: str = "") -> Field:
    column = column or name
    return Field(name, kind, (column,), lambda device: getattr(device, column), words)


def _hardware(part: str, kind: Kind = Kind.TEXT, words: tuple[str, ...] = ()) -> Field:
    def read(device: DeviceRow) -> object:
        # What the device reports now, and until then what it said when it enrolled: as the API shows it.
        hardware = (device.reported or {}).get("hardware") or device.hardware or {}
        return hardware.get(part)

    return Field(f"hardware.{part}", kind, ("hardware", "reported"), read, words)


def _said(name: str, kind: Kind, words: tuple[str, ...] = ()) -> Field:
    return Field(name, kind, ("reported",), lambda device: (device.reported or {}).get(name), words)


_PLAIN: Final[Mapping[str, Field]] = {
    one.name: one
    for one in (
        _column("id"),
        _column("name"),
        _column("group"),
        _column("presence", words=get_args(Presence)),
        _column("last_seen", Kind.AGE, column="last_seen_at"),
        _column("enrolled", Kind.AGE, column="enrolled_at"),
        _column("certificate_expires", Kind.TIME_LEFT, column="certificate_expires_at"),
        _hardware("kind", words=get_args(Hardware.model_fields["kind"].annotation)),
        _hardware("model"),
        _hardware("architecture"),
        _hardware("cores", Kind.NUMBER),
        _hardware("memory_bytes", Kind.NUMBER),
        _hardware("l4t", Kind.VERSION),
        _said("agent_version", Kind.VERSION),
        _said("targets", Kind.TEXTS),
        _said("runtimes", Kind.TEXTS, get_args(Runtime)),
    )
}

FIELDS: Final = (
    *_PLAIN,
    "tags.NAME",
    "datasets.NAME",
    "models.NAME.version",
    "models.NAME.target",
    "models.NAME.state",
)
"""Every field, as a person is told of them."""
