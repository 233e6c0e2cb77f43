"""The ingest process: three connections to the broker, one committer, acknowledgements by hand after the commit."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from shoal_contract import topics
from shoal_contract.ack import Ack, BlobAnswer
from shoal_contract.errors import ContractError
from shoal_contract.telemetry import BlobOffer
from shoal_contract.telemetry import Event as DeviceEvent
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.revocation import note_heard
from shoal_hub.devices.tables import Device
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.reading import Reader, sender
from shoal_hub.ingest.receive import Received
from shoal_hub.ingest.refusal import may_pass
from shoal_hub.ingest.traced import BatchTraces
from shoal_hub.meters import (
    INGEST_BYTES,
    INGEST_CLEARED,
    INGEST_COMMIT_SECONDS,
    INGEST_LAG_SECONDS,
    INGEST_MESSAGES,
    INGEST_WAITING,
)
from shoal_hub.mqtt import Connected, Connection, Disconnected, Endpoint, Event, Message, MqttError, Subscription
from shoal_hub.transfer.uploads import Uploads
from shoal_hub.wake import INGEST, wake

log = logging.getLogger(__name__)

BATCH_MESSAGES: Final = 500
"""That are taken together; one may hold many."""
COMMIT_MESSAGES: Final = 1000
"""What they hold that is committed together: more than a batch of heartbeats among which some hold several windows, as
two commits of it would be twice the work around each, and few enough to hold the database for a moment alone."""
_GATHER_RATIO: Final = 100.0
"""After a batch, what comes is gathered for this many times the CPU that it took: few batches cost less than many."""
_LONGEST_GATHER_S: Final = 2.0
"""But no longer than this, well below `OutboxSettings.resend_min_s` of agents, and not once there is a whole batch."""
_GATHER_STEP_S: Final = 0.2
"""How often it is looked whether there is a whole batch; and for how long a connection lets what comes pile up."""
_POLL_S: Final = 0.5
"""How often it is looked, at the start, whether every connection stands."""
_REST_S: Final = 2.5
"""For how long something is waited for; then it is looked whether the thread that keeps uploads has ended."""
_RETRY_S: Final = 0.5
_IDLE: Final = timedelta(seconds=5)
_IDLE_CHECK_S: Final = 2.5
"""How often it is looked for uploads on which nothing has happened: a look asks the database."""
_WARN_EVERY: Final = timedelta(minutes=1)
_RETAINED: Final = ("/up/presence", "/up/reported")


class IngestError(HubError):
    """Ingest cannot go on; the supervisor starts it again."""

    code = "ingest"


@dataclass(frozen=True)
class Endpoints:
    """Where and as whom each of the three connections is made."""

    control: Endpoint
    telemetry: Endpoint
    blobs: Endpoint


class IngestWorker:
    """Runs until it is stopped. Blobs have a thread of their own, so that a large upload delays no event."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        uploads: Uploads,
        endpoints: Endpoints,
        shared_group: str,
        *,
        messages_per_s: float,
    ) -> None:
        self._database = database
        self._committer = committer
        self._uploads = uploads
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._blob_events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._control = Connection(
            endpoints.control, _control_subscriptions(shared_group), self._events, rest_s=_GATHER_STEP_S
        )
        telemetry = [_shared(shared_group, channel) for channel in ("telemetry", "windows")]
        self._telemetry = Connection(endpoints.telemetry, telemetry, self._events, rest_s=_GATHER_STEP_S)
        self._blobs = Connection(endpoints.blobs, [_shared(shared_group, "blob")], self._blob_events)
        self._stopping = threading.Event()
        self._gathers_until_s = 0.0
        self._traces = BatchTraces(database, ())
        self._warned: dict[str, datetime] = {}
        self._reader = Reader(database, messages_per_s, self._warn, self._stopping)

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until `stop`; `on_ready` is called once every connection stands."""
        connections = (self._control, self._telemetry, self._blobs)
        for connection in connections:
            connection.start()
        blobs = threading.Thread(target=self._serve_blobs, name="ingest-blobs")
        blobs.start()
        is_ready = False
        try:
            while not self._stopping.is_set():
                if not blobs.is_alive() and not self._stopping.is_set():
                    raise IngestError("the thread that keeps uploads has ended; its error is above", "report it")
                self._take_batch(_REST_S if is_ready else _POLL_S)
                if not is_ready and all(connection.is_connected for connection in connections):
                    is_ready = True
                    on_ready()
        finally:
            self.stop()
            blobs.join()
            for connection in connections:
                connection.stop()

    def stop(self) -> None:
        """Have `run` end; safe to call from another thread."""
        self._stopping.set()
        for events in (self._events, self._blob_events):
            events.put(Disconnected("ingest stops"))

    def wake(self, what: frozenset[str]) -> None:
        """Tell the hub's other processes what changed; a lost word costs them one slow tick."""
        wake(self._control, what, INGEST)

    def _take_batch(self, wait_s: float = _POLL_S) -> None:
        events = _drain(self._events, self._gathers_until_s, wait_s)
        INGEST_WAITING.set(self._events.qsize())
        if not events:
            return
        began_cpu_s = time.thread_time()
        messages = [event for event in events if isinstance(event, Message)]
        for message in messages:
            self._clear_stray(self._control, message)
        received, strangers, believed = self._reader.read(messages)
        self._traces = BatchTraces(self._database, believed)
        if strangers and not self._stopping.is_set():
            self._refuse(strangers, utc_now())
        for start in range(0, len(received), COMMIT_MESSAGES):
            self._commit(received[start : start + COMMIT_MESSAGES])
        with self._control.gathering(), self._telemetry.gathering():
            for message in messages:
                message.acknowledge()
        self._traces.end()
        if messages:
            INGEST_LAG_SECONDS.observe(time.monotonic() - min(message.arrived_s for message in messages))
        if len(received) >= BATCH_MESSAGES:
            self._gathers_until_s = 0.0  # there is as much to do as saves anything, and devices wait
        elif messages:
            gather_s = min(_GATHER_RATIO * (time.thread_time() - began_cpu_s), _LONGEST_GATHER_S)
            self._gathers_until_s = time.monotonic() + gather_s

    def _commit(self, received: list[Received]) -> None:
        now = utc_now()
        while not self._stopping.is_set():
            try:
                with INGEST_COMMIT_SECONDS.time():
                    committed = self._committer.commit(received, now)
            except Exception as error:
                if not may_pass(error):
                    raise
                # Nothing of it is acknowledged, so nothing is lost: neither here nor on the devices.
                log.exception("committing %d messages failed; trying again", len(received))
                self._stopping.wait(_RETRY_S)
                continue
            if committed.refused:
                self._refuse(committed.refused, now)
            offering = {one.device_id for one in received if _is_offer(one)}
            with self._control.gathering():
                for device_id, ack in committed.acks.items():
                    self._acknowledge(device_id, ack if device_id not in offering else self._with_blobs(device_id, ack))
            return

    def _refuse(self, device_ids: frozenset[str], now: datetime) -> None:
        for device_id in device_ids:
            self._warn(f"device {device_id}", "it is not enrolled, or was revoked")
        try:
            with self._database.transaction() as session:
                note_heard(session, device_ids, now)
        except SQLAlchemyError:
            log.exception(
                "noting that %d devices are still heard failed; they are noted with their next word", len(device_ids)
            )

    def _with_blobs(self, device_id: str, ack: Ack) -> Ack:
        with self._database.session() as session:
            return ack.model_copy(update={"blobs": self._uploads.answers(session, device_id)})

    def _acknowledge(self, device_id: str, ack: Ack) -> None:
        """Tell a device what is committed; one that does not hear it sends again, and is told again."""
        topic = topics.down_ack(device_id)
        try:
            if ack.blobs:
                self._control.publish(topic, ack.to_bytes())
            else:
                self._control.tell(topic, ack.to_bytes(), self._traces.properties_of(device_id))
        except MqttError as error:
            log.info("acknowledging to %s: %s; it will send again", device_id, error)

    def _clear_stray(self, connection: Connection, message: Message) -> None:
        """Clear what a device has left retained at the broker and nobody may: it would fill the broker's memory."""
        if not (message.is_retained and message.payload) or message.topic.endswith(_RETAINED):
            return
        INGEST_CLEARED.inc()
        self._warn(sender(message.topic), "they were sent as retained, which only presence and reported states may be")
        try:
            connection.publish(message.topic, b"", retain=True)
        except MqttError as error:
            log.info("clearing %s: %s; it is cleared at the controller's next start", message.topic, error)

    def _warn(self, source: str, reason: str) -> None:
        """Record that messages were dropped, once a minute for each source."""
        now = utc_now()
        if self._warned.get(source, now - 2 * _WARN_EVERY) > now - _WARN_EVERY:
            return
        self._warned = {one: at for one, at in self._warned.items() if at > now - _WARN_EVERY} | {source: now}
        log.warning("messages of %s are dropped: %s", source, reason)
        text = f"messages of {source} are dropped: {reason}"
        try:
            with self._database.transaction() as session:
                record_event(session, "message_dropped", text[:1000], severity="warning")
        except SQLAlchemyError:
            log.exception("recording that messages are dropped failed; it is in this log alone")

    def _serve_blobs(self) -> None:
        look_s = -math.inf
        while not self._stopping.is_set():
            for event in _drain(self._blob_events, wait_s=max(0.0, look_s - time.monotonic())):
                if isinstance(event, Message):
                    self._take_chunk(event)
            if time.monotonic() >= look_s:
                look_s = time.monotonic() + _IDLE_CHECK_S
                self._ask_idle()

    def _ask_idle(self) -> None:
        """Ask for what is missing of uploads on which nothing has happened for a while."""
        try:
            for device_id in self._uploads.idle(utc_now() - _IDLE, utc_now()):
                self._answer_blobs(device_id)
        except (SQLAlchemyError, OSError):  # chunks of an upload that ends go while they are looked at
            log.exception("asking for what is missing of uploads failed; trying again")

    def _take_chunk(self, message: Message) -> None:
        """Take one chunk; the broker is told in any case: after a few messages without an answer it sends no more."""
        self._clear_stray(self._blobs, message)
        try:
            if message.payload:  # none: a retained one that was cleared
                self._keep_chunk(message)
        except (SQLAlchemyError, OSError):
            log.exception("keeping an upload failed; the device is asked again for what is missing")
            self._stopping.wait(_RETRY_S)
        finally:
            message.acknowledge()

    def _keep_chunk(self, message: Message) -> None:
        try:
            source = topics.parse_up(message.topic)
        except ContractError as error:
            self._warn(sender(message.topic), str(error))
            return
        INGEST_MESSAGES.labels(source.channel).inc()
        INGEST_BYTES.labels(source.channel).inc(len(message.payload))
        if source.sha256 is not None and source.chunk is not None:
            answer = self._uploads.chunk(source.device_id, source.sha256, source.chunk, message.payload, utc_now())
            if answer is not None:
                self._answer_blobs(source.device_id, {source.sha256: answer})

    def _answer_blobs(self, device_id: str, answers: dict[str, BlobAnswer] | None = None) -> None:
        with self._database.session() as session:
            device = session.get(Device, device_id)
            if device is None or not device.outbox_stream:
                return
            blobs = answers if answers is not None else self._uploads.answers(session, device_id)
        self._acknowledge(device_id, Ack(stream=device.outbox_stream, sequence=device.outbox_sequence, blobs=blobs))


def _drain(events: "queue.SimpleQueue[Event]", until_s: float = 0.0, wait_s: float = _POLL_S) -> list[Event]:
    """Wait for an event, and take what else is there or comes until then (monotonic clock), up to a batch."""
    batch: list[Event] = []
    try:
        batch.append(events.get(timeout=wait_s))
        # Not `get` with a timeout: this thread would be woken for each of them.
        while len(batch) + events.qsize() < BATCH_MESSAGES and (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _GATHER_STEP_S))
        while len(batch) < BATCH_MESSAGES:
            batch.append(events.get_nowait())
    except queue.Empty:
        pass
    for event in batch:
        if isinstance(event, Connected | Disconnected):
            log.info("%s", event)
    return batch


def _control_subscriptions(shared_group: str) -> list[Subscription]:
    # Presence and reported states are retained, and a shared subscription is given no retained messages.
    plain = [Subscription(topics.up_filter("presence")), Subscription(topics.up_filter("reported"))]
    return [*plain, _shared(shared_group, "event"), _shared(shared_group, "events")]


def _shared(group: str, channel: topics.UpChannel) -> Subscription:
    return Subscription(topics.shared(group, topics.up_filter(channel)), shows_retain=True)


def _is_offer(received: Received) -> bool:
    return isinstance(received.message, DeviceEvent) and isinstance(received.message.body, BlobOffer)
