"""What a store of online features does, for SQLite and for Redis; and values as bytes in either."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple

from pydantic_core import from_json, to_json

from shoal_hub.online_features.values import Held, Scalar

KEPT_TWICE: Final = 2
"""Values are kept for twice the longest time to live of their view, so that a stale one can tell its age."""


class OnlineRow(NamedTuple):
    """Values of an entity that come in; they take the place of all that it had in the view.

    Attributes:
        entity: Its key.
        at_ns: The time that they are of, 0 or later.
        values: By feature.
    """

    entity: str
    at_ns: int
    values: dict[str, Scalar]


class OnlineStore(ABC):
    """The latest values by view and entity. Safe for use by several threads."""

    @abstractmethod
    def write(self, view: str, rows: Sequence[OnlineRow], keep_s: float) -> int:
        """Keep rows, and return how many: one that is older than what is held changes nothing.

        Args:
            view: The view.
            rows: In any order; of an entity the latest counts, of those of one time the last.
            keep_s: How long after their time they are kept.

        Raises:
            UnavailableError: The store does not answer, or the disk fails; some rows may be kept, send all again.
        """

    @abstractmethod
    def read(self, view: str, entities: Sequence[str]) -> list[Held | None]:
        """Return what is held of each entity; None: nothing.

        Raises:
            UnavailableError: The store does not answer.
        """

    @abstractmethod
    def forget(self, view: str) -> None:
        """Drop all values of a view.

        Raises:
            UnavailableError: The store does not answer.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; the store is not used any more."""


def to_bytes(values: dict[str, Scalar]) -> bytes:
    """Return values as bytes."""
    return to_json(values)


def from_bytes(data: bytes) -> dict[str, Scalar]:
    """Return values from bytes."""
    found: dict[str, Scalar] = from_json(data)
    return found
