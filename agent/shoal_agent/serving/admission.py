"""Who may ask now, apart from what a request says: asked for each request before anything is done for it."""

from typing import Protocol


class Admission(Protocol):
    """Decides in the event loop, at once, from what it knows already."""

    def admit(self, model: str) -> None:
        """See that a request to a served model is worked on.

        Raises:
            RequestError: It is not; its status and text say why, and when to try again.
        """


class AdmitAll:
    """Refuses nothing."""

    def admit(self, model: str) -> None:
        """Let it pass."""
