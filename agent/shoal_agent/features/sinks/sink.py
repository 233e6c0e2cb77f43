"""What every sink offers."""

from collections.abc import Sequence
from typing import Protocol


class Sink(Protocol):
    """Takes results."""

    async def send(self, results: Sequence[bytes]) -> None:
        """Take results, each a line of JSON without its end; those of a call that fails may come again.

        Raises:
            UnreachableError: Not now; they are sent again.
            FeaturesError: They are refused, and would be again.
        """

    async def aclose(self) -> None:
        """Let go of what it holds."""
