"""Who does something with what devices send: one function a kind of body, given where the process is composed."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import Session

from shoal_contract.telemetry import (
    BlobOffer,
    DeploymentEvent,
    EncryptionKeyReplaced,
    MissingArtifact,
    RoundResult,
    ShadowWindow,
    Window,
)

Body = DeploymentEvent | RoundResult | MissingArtifact | Window | ShadowWindow | BlobOffer | EncryptionKeyReplaced
SomeBody = TypeVar(
    "SomeBody", DeploymentEvent, RoundResult, MissingArtifact, Window, ShadowWindow, BlobOffer, EncryptionKeyReplaced
)
Handler = Callable[[Session, str, SomeBody, datetime], None]
"""Called with (session, device id, body, now) inside the transaction that commits the message.

What it writes to the session is kept once for each message. It does nothing else: a transaction that another message
spoils is undone, and its handlers are called again.
"""


class Handlers:
    """Handlers by the type of body."""

    def __init__(self) -> None:
        self._by_type: dict[type[Any], Callable[[Session, str, Any, datetime], None]] = {}

    def on(self, body: type[SomeBody], handler: Handler[SomeBody]) -> None:
        """Have `handler` called for each body of this type; there is one for each type.

        Raises:
            ValueError: The type has a handler.
        """
        if body in self._by_type:
            raise ValueError(f"composing ingest: {body.__name__} has a handler already")
        self._by_type[body] = handler

    def handle(self, session: Session, device_id: str, body: Body, now: datetime) -> None:
        """Call the handler of this body, if there is one."""
        handler = self._by_type.get(type(body))
        if handler is not None:
            handler(session, device_id, body, now)
