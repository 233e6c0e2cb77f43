"""Models that are loaded as they are asked: whether one is, and having it served."""

from typing import Protocol

from shoal_agent.serving.models import ServedModel


class OnDemand(Protocol):
    """Belongs to the event loop."""

    def note_use(self, served: ServedModel) -> None:
        """Take note that a model is asked."""

    def is_away(self, name: str) -> bool:
        """Whether a name is not served now, and `bring` may change that."""

    async def bring(self, name: str) -> None:
        """Have it served.

        Raises:
            RequestError: It can not be now.
        """
