"""Where a stream of events comes from and its results go: two small interfaces for any broker's client."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType

from typing_extensions import Self

from shoal_numerics.features.events import Arrival


class EventSource(ABC):
    """Messages of a broker, in the order in which they came. A context manager: open from `start` to `stop`.

    A message is the caller's once `done` has been called with it; what was taken and is not done comes again after a
    restart. So every event counts once it is kept, and may come twice where the process was killed in between.
    """

    @abstractmethod
    def start(self) -> None:
        """Connect, and wait until messages come in.

        Raises:
            StreamError: It can not be reached in time, or refuses.
        """

    @abstractmethod
    def take(self, most: int, timeout_s: float) -> list[Arrival]:
        """Return messages that have come, at most so many; wait for the first, and return none after a time.

        Raises:
            StreamError: The connection is lost for good.
        """

    @abstractmethod
    def done(self, arrivals: Sequence[Arrival]) -> None:
        """Tell the broker that messages are kept: those, and all that were taken before them."""

    @abstractmethod
    def stop(self) -> None:
        """Disconnect. What was not done stays at the broker."""

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


class EventResults(ABC):
    """A topic that results go to. A context manager: connected while it is open."""

    @abstractmethod
    def publish(self, lines: Sequence[bytes], keys: Sequence[str] = ()) -> None:
        """Publish each line as a message, and wait until the broker has them all.

        Args:
            lines: What is published.
            keys: The entity of each, where the broker tells messages apart by a key; none: without.

        Raises:
            StreamError: It has not, in time.
        """

    @abstractmethod
    def start(self) -> None:
        """Connect.

        Raises:
            StreamError: It can not be reached in time, or refuses.
        """

    @abstractmethod
    def stop(self) -> None:
        """Disconnect."""

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()
