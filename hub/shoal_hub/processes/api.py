"""The API process, composed: the application over HTTPS, and the words of the other processes for live streams."""

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from shoal_contract import topics
from shoal_hub.addresses import Addresses
from shoal_hub.api import create_app
from shoal_hub.audit.anchor import KeptAnchor
from shoal_hub.context import HubContext
from shoal_hub.database import Database
from shoal_hub.events.changes import ChangeFeed
from shoal_hub.mqtt import Connection, Event, Message, Subscription
from shoal_hub.observe.listener import MetricsListener
from shoal_hub.processes.ready import mark_ready
from shoal_hub.processes.signals import follow_supervisor
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.supervise.prepare import server_names
from shoal_hub.tracing.export import start_tracing
from shoal_hub.tracing.spans import stop_tracing
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys
from shoal_hub.wake import read_wake, wake

_DRAIN_S = 3
_LOOK_S = 3600.0
"""How often it looks whether its certificate is near its end."""
_TICK_S = 1.0
"""How often it looks for a new CA, and tells answers the time."""


class Words:
    """Carries words both ways: what this process commits goes out, what others tell reaches the live streams.

    It also remembers which anchor of the audit trail the broker keeps.
    """

    def __init__(
        self, connection: Connection, events: "queue.SimpleQueue[Event]", changes: ChangeFeed, kept: KeptAnchor
    ) -> None:
        self._kept = kept
        self._connection = connection
        self._events = events
        self._changes = changes
        self._thread = threading.Thread(target=self._listen, name="api-words", daemon=True)

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._connection.start()
        self._thread.start()

    def tell(self, what: frozenset[str]) -> None:
        """Tell the other processes and, also while the broker is away, this one's readers."""
        wake(self._connection, what)
        self._changes.tell(what)

    def stop(self) -> None:
        """Disconnect."""
        self._connection.stop()

    def _listen(self) -> None:
        while True:
            event = self._events.get()
            if isinstance(event, Message) and event.topic == topics.HUB_AUDIT:
                self._kept.envelope = event.payload
                event.acknowledge()
            elif isinstance(event, Message):
                self._changes.tell(read_wake(event.payload).what)


class _Server(uvicorn.Server):
    """Says that it serves once its socket is open; shows a new certificate by a new CA, and before the old one ends."""

    def __init__(self, config: uvicorn.Config, settings: Settings, authority: DeviceAuthority) -> None:
        super().__init__(config)
        self._settings = settings
        self._authority = authority
        self._shown_by = authority.fingerprint
        self._next_look_s = time.monotonic() + _LOOK_S
        self._end: Callable[[], object] = bool

    async def main_loop(self) -> None:
        """Tick once a second until told to end, and hear of that at once: uvicorn itself ticks ten times as often."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        self._end = lambda: loop.call_soon_threadsafe(ended.set)
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _TICK_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note that a signal says to end."""
        super().handle_exit(sig, frame)
        self._end()

    async def on_tick(self, counter: int) -> bool:
        """Look for a new CA, and for the certificate's end; connections that stand go on."""
        is_due = self._authority.fingerprint != self._shown_by or time.monotonic() >= self._next_look_s
        if is_due and self.config.ssl is not None:
            identity = self._authority.issue_server(server_names(self._settings))
            self.config.ssl.load_cert_chain(identity.certificate, identity.key)
            self._shown_by, self._next_look_s = self._authority.fingerprint, time.monotonic() + _LOOK_S
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the socket, then leave the mark of readiness."""
        await super().startup(sockets)
        mark_ready(self._settings, "api")


def run(settings: Settings) -> None:
    """Serve until the process is told to end."""
    start_tracing(settings, "api")
    addresses = Addresses.read(settings)
    trust = settings.data / "trust"
    authority = DeviceAuthority.open(trust)
    identity = authority.issue_server(server_names(settings))
    database, changes = Database(settings.database), ChangeFeed()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    subscriptions = [Subscription(topics.HUB_WAKE, qos=0), Subscription(topics.HUB_AUDIT)]
    connection = Connection(addresses.endpoint(settings, "hub-api"), subscriptions, events)
    kept = KeptAnchor()
    words = Words(connection, events, changes, kept)
    database.on_commit = words.tell
    hub = HubContext(
        settings=settings,
        database=database,
        artifacts=ArtifactStore(settings.artifacts),
        authority=authority,
        director=Director.open(trust),
        version_keys=VersionKeys.open(trust),
        trust=HubTrust.open(settings),
        changes=changes,
        broker_address=lambda: (addresses.broker_host, addresses.broker_port),
        api_url=addresses.api_url,
        kept_anchor=kept,
    )
    config = uvicorn.Config(
        create_app(hub),
        host=settings.api_host,
        port=addresses.api_port,
        ssl_certfile=str(identity.certificate),
        ssl_keyfile=str(identity.key),
        log_level="warning",
        log_config=None,  # to the process's own handler, which takes secrets out
        ws="none",
        timeout_graceful_shutdown=_DRAIN_S,
    )
    listener = MetricsListener(settings.metrics_address, hub.metrics) if settings.metrics_address else None
    follow_supervisor()
    words.start()
    if listener is not None:
        listener.start()
    _Server(config, settings, authority).run()
    if listener is not None:
        listener.stop()
    words.stop()
    hub.online_features.close()
    database.close()
    stop_tracing()
