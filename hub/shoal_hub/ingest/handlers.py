"""Who does something with what devices send: one function a kind of body, given where the process is composed."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import Session

from shoal_contract.batch_jobs import BatchResult
from shoal_contract.benchmarks import BenchmarkResult
from shoal_contract.telemetry import (
    BlobOffer,
    DeploymentEvent,
    EncryptionKeyReplaced,
    LoadShed,
    MissingArtifact,
    RoundResult,
    ShadowWindow,
    Window,
)

Body = (
    DeploymentEvent
    | RoundResult
    | MissingArtifact
    | Window
    | ShadowWindow
    | BlobOffer
    | EncryptionKeyReplaced
    | LoadShed
    | BatchResult
    | BenchmarkResult
)
SomeBody = TypeVar(
    "SomeBody",
    DeploymentEvent,
    RoundResult,
    MissingArtifact,
    Window,
    ShadowWindow,
    BlobOffer,
    EncryptionKeyReplaced,
    LoadShed,
    BatchResult,
    BenchmarkResult,
)
Handler = Callable[[Session, str, SomeBody, datetime], None]
"""Called with (session, device id, body, now) inside the transaction that commits the message.

What it writes to the session is kept once for each message. It does nothing else: a transaction that another message
spoils is undone, and its handlers are called again.
"""
ManyHandler = Callable[[Session, Sequence[tuple[str, SomeBody]], datetime], None]
"""The same for all bodies of its kind in a batch at once, as (device id, body), each device's in their order."""


class Handlers:
    """Handlers by the type of body."""

    def __init__(self) -> None:
        self._by_type: dict[type[Any], ManyHandler[Any]] = {}

    def on(self, body: type[SomeBody], handler: Handler[SomeBody]) -> None:
        """Have `handler` called for each body of this type; there is one for each type.

        Raises:
            ValueError: The type has a handler.
        """

        def handle_each(session: Session, told: Sequence[tuple[str, SomeBody]], now: datetime) -> None:
            for device_id, one in told:
                handler(session, device_id, one, now)

        self.on_many(body, handle_each)

    def on_many(self, body: type[SomeBody], handler: ManyHandler[SomeBody]) -> None:
        """Have `handler` called with all bodies of this type in a batch; there is one for each type.

        Raises:
            ValueError: The type has a handler.
        """
        if body in self._by_type:
            raise ValueError(f"composing ingest: {body.__name__} has a handler already")
        self._by_type[body] = handler

    def handle(self, session: Session, told: Iterable[tuple[str, Body]], now: datetime) -> None:
        """Call the handlers of these bodies, kind by kind; what has no handler is passed over.

        Offers come last, whoever sent what first: whether a blob is taken follows from what its device has just said.
        """
        by_type: dict[type[Any], list[tuple[str, Body]]] = {}
        for device_id, body in told:
            by_type.setdefault(type(body), []).append((device_id, body))
        for kind in sorted(by_type, key=lambda kind: kind is BlobOffer):
            handler = self._by_type.get(kind)
            if handler is not None:
                handler(session, by_type[kind], now)
