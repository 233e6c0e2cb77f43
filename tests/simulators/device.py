"""A small device that speaks the contract over a real broker: it believes, fetches, applies and reports.

It stands in for an agent where a test needs many of them, or one that misbehaves. It does what desired state says,
and serves nothing.
"""

import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from sqlmodel import Session
from tests.simulators.rows import HARDWARE, NOON, add_device

from shoal_contract import topics
from shoal_contract.ack import Ack
from shoal_contract.desired import DesiredModel, DesiredState
from shoal_contract.device_signature import SignedChannel, device_key_id, sign_up
from shoal_contract.envelope import DESIRED_STATE_TYPE, verify
from shoal_contract.ids import sha256_hex
from shoal_contract.manifest import VersionManifest
from shoal_contract.reported import (
    CONNECTION_LOST,
    ModelReport,
    Presence,
    Problem,
    ReportedState,
    SectionReport,
    SlotReport,
)
from shoal_contract.telemetry import DeploymentEvent, Event, EventBody, MissingArtifact, OutboxPosition
from shoal_contract.transfer import TransferManifest
from shoal_contract.wire import WireMessage, parse_message
from shoal_hub.devices.certificates import make_row, use_certificate
from shoal_hub.trust import files
from shoal_hub.trust.ca import DeviceAuthority, Identity

MAX_BYTES = 8 * 2**20
_POLL_S = 0.02
_WITH_WILL = ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message")


@dataclass
class Behaviour:
    """How a device misbehaves.

    Attributes:
        fails: Versions that it reports as failed.
        lost_acks: How many of the hub's acknowledgements it does not hear.
        silence_s: How long it waits for a retained topic before it tells the hub.
        resend_s: How long it waits for an acknowledgement before it sends again.
    """

    fails: set[int] = field(default_factory=set)
    lost_acks: int = 0
    silence_s: float = 1.0
    resend_s: float = 0.5


def enrol(session: Session, authority: DeviceAuthority, device_id: str, folder: Path, **changes: Any) -> Identity:
    """Make a device's key, have it signed and note both, as enrolment does."""
    identity = make_identity(authority, device_id, folder)
    device = add_device(session, device_id, **changes)
    row = make_row(device_id, files.read_certificate(identity.certificate), NOON, authority.fingerprint)
    use_certificate(device, row)
    session.add(row)
    return identity


def make_identity(authority: DeviceAuthority, device_id: str, folder: Path) -> Identity:
    """Make a device's key and have it signed."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    identity = Identity(folder / f"{device_id}.pem", folder / f"{device_id}.key")
    files.write_key(identity.key, key)
    files.write_certificate(identity.certificate, authority.issue(request, device_id))
    return identity


class SimulatedDevice:
    """One device. `start` connects; what it knows outlives `stop`, as an agent's disk does."""

    def __init__(
        self,
        device_id: str,
        identity: Identity,
        *,
        port: int,
        authority: Path,
        director: tuple[str, str],
        targets: tuple[str, ...] = ("generic-onnx-int8",),
        behaviour: Behaviour | None = None,
    ) -> None:
        self.device_id = device_id
        self.behaviour = behaviour or Behaviour()
        self.desired: list[DesiredState] = []
        self.fetched: dict[str, bytes] = {}
        self.outbox: list[tuple[int, EventBody, str]] = []
        self._identity = identity
        self._key = files.read_ec_key(identity.key)
        self._key_id = device_key_id(self._key.public_key())
        self._instance = uuid.uuid4().hex[:16]
        self._port = port
        self._authority = authority
        self._keys = {director[0]: Ed25519PublicKey.from_public_bytes(bytes.fromhex(director[1]))}
        self._targets = targets
        self._stream = f"{time.time_ns():016x}"
        self._sequence = 0
        self._connection = 0
        self._report_sequence = 0
        self._order = (0, 0)
        self._models: dict[str, ModelReport] = {}
        self._sections: dict[str, SectionReport] = {}
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._retained: dict[str, queue.SimpleQueue[bytes]] = {}
        self._lock = threading.Lock()

    def finds_broker(self) -> bool:
        """Whether somebody listens where the broker is: one that has just been started may not do so yet."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def start(self) -> None:
        """Connect and do what the hub says."""
        self._connection += 1
        self._report_sequence = 0
        self._stopping = threading.Event()
        self._client = self._make_client()
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._workers = [threading.Thread(target=self._work), threading.Thread(target=self._resend)]
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Go away without a word: the broker sends the will."""
        self._stopping.set()
        for worker in self._workers:
            worker.join()
        self._client.disconnect(_WITH_WILL)
        self._client.loop_stop()

    def tell(self, body: EventBody) -> None:
        """Put an event into the outbox and send it."""
        with self._lock:
            self._sequence += 1
            self.outbox.append((self._sequence, body, uuid.uuid4().hex))
            self._send(self.outbox[-1])

    def send_chunk(self, sha256: str, index: int, data: bytes) -> None:
        """Send a chunk of a blob, whether the hub has given credit or not."""
        self._client.publish(topics.up_blob(self.device_id, sha256, index), data, qos=1)

    def serves(self, model: str = "digits") -> int | None:
        """Return the version that it serves."""
        report = self._models.get(model)
        return report.active.version if report is not None and report.active is not None else None

    def _make_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.tls_set(
            ca_certs=str(self._authority),
            certfile=str(self._identity.certificate),
            keyfile=str(self._identity.key),
        )
        client.reconnect_delay_set(0.1, 0.2)  # type: ignore[arg-type]  # paho is fine with fractions
        client.will_set(
            topics.up(self.device_id, "presence"), self._presence("offline", CONNECTION_LOST), qos=1, retain=True
        )
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(topics.down_desired(self.device_id), 1), (topics.down_ack(self.device_id), 1)])
        client.publish(topics.up(self.device_id, "presence"), self._presence("online"), qos=1, retain=True)
        self._todo.put(self._report)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if message.topic in self._retained:
            self._retained[message.topic].put(payload)
        elif message.topic == topics.down_ack(self.device_id):
            self._take_ack(parse_message(Ack, payload, MAX_BYTES))
        elif message.topic == topics.down_desired(self.device_id) and payload:
            self._todo.put(lambda: self._take_desired(payload))

    def _work(self) -> None:
        while not self._stopping.is_set():
            with suppress(queue.Empty):
                self._todo.get(timeout=_POLL_S)()

    def _resend(self) -> None:
        while not self._stopping.wait(self.behaviour.resend_s):
            with self._lock:
                for entry in self.outbox:
                    self._send(entry)

    def _send(self, entry: tuple[int, EventBody, str]) -> None:
        sequence, body, event_id = entry
        place = OutboxPosition(stream=self._stream, sequence=sequence, oldest=self.outbox[0][0])
        event = Event(event_id=event_id, outbox=place, at=datetime.now(UTC), body=body)
        self._client.publish(topics.up(self.device_id, "event"), self._seal("event", event), qos=1)

    def _take_ack(self, ack: Ack) -> None:
        if self.behaviour.lost_acks > 0:
            self.behaviour.lost_acks -= 1
            return
        with self._lock:
            if ack.stream == self._stream:
                self.outbox = [entry for entry in self.outbox if entry[0] > ack.sequence]

    def _take_desired(self, envelope: bytes) -> None:
        payload = verify(envelope, DESIRED_STATE_TYPE, self._keys, MAX_BYTES).payload
        state = parse_message(DesiredState, payload, MAX_BYTES)
        if state.order < self._order:
            return
        is_new = state.order > self._order
        self._order = state.order
        if not is_new:
            return
        self.desired.append(state)
        for key in [one for one in self._sections if one.removeprefix("models/") not in state.models]:
            del self._sections[key]
            self._models.pop(key.removeprefix("models/"), None)
        for name, wanted in state.models.items():
            self._apply(name, wanted)
        self._report()

    def _apply(self, name: str, wanted: DesiredModel) -> None:
        key = f"models/{name}"
        self._sections[key] = SectionReport(state="working", step="fetch", deployment=wanted.deployment)
        self._report()
        self._tell_step(name, wanted, "fetch")
        manifest = self._manifest(wanted)
        if manifest is None:
            return
        variant = manifest.variant_for(wanted.target)
        data = self._fetch(variant.travels_as.sha256)
        if data is None:
            return
        if wanted.version in self.behaviour.fails:
            problem = Problem(code="golden", message="the golden input gives another answer", remedy="compress again")
            self._sections[key] = SectionReport(state="failed", deployment=wanted.deployment, problem=problem)
            self._tell_step(name, wanted, "fail", problem)
            return
        slot = SlotReport(version=wanted.version, target=wanted.target, sha256=variant.sha256, state="good")
        self._models[name] = ModelReport(active=slot)
        self._sections[key] = SectionReport(state="applied", deployment=wanted.deployment)
        self._tell_step(name, wanted, "commit")

    def _tell_step(self, name: str, wanted: DesiredModel, step: Any, problem: Problem | None = None) -> None:
        version, deployment = wanted.version, wanted.deployment
        self.tell(DeploymentEvent(model=name, version=version, deployment=deployment, step=step, problem=problem))

    def _manifest(self, wanted: DesiredModel) -> VersionManifest | None:
        data = self._fetch(wanted.manifest.sha256)
        if data is None:
            return None
        return parse_message(VersionManifest, data, MAX_BYTES)

    def _fetch(self, sha256: str) -> bytes | None:
        """Fetch an artifact by its chunks; ask the hub again as long as it is silent."""
        while sha256 not in self.fetched and not self._stopping.is_set():
            listing = self._read(topics.artifact_manifest(sha256))
            if listing is None:
                self.tell(MissingArtifact(sha256=sha256, detail="silent"))
                continue
            count = len(parse_message(TransferManifest, listing, MAX_BYTES).chunks)
            chunks = [self._read(topics.artifact_chunk(sha256, index)) for index in range(count)]
            data = b"".join(chunk for chunk in chunks if chunk is not None)
            if sha256_hex(data) == sha256:
                self.fetched[sha256] = data
        return self.fetched.get(sha256)

    def _read(self, topic: str) -> bytes | None:
        self._retained[topic] = queue.SimpleQueue()
        self._client.subscribe(topic, qos=1)
        try:
            return self._retained[topic].get(timeout=self.behaviour.silence_s) or None
        except queue.Empty:
            return None
        finally:
            del self._retained[topic]
            self._client.unsubscribe(topic)

    def _report(self) -> None:
        self._report_sequence += 1
        state = ReportedState(
            connection=self._connection,
            sequence=self._report_sequence,
            at=datetime.now(UTC),
            epoch=self._order[0],
            generation=self._order[1],
            agent_version="0.1.0",
            hardware=HARDWARE,
            runtimes=("onnxruntime",),
            targets=self._targets,
            models=self._models,
            sections=self._sections,
        )
        self._client.publish(topics.up(self.device_id, "reported"), self._seal("reported", state), qos=1, retain=True)

    def _presence(self, state: Any, reason: str = "") -> bytes:
        sequence = 0 if state == "online" else 1
        since = datetime.now(UTC)
        presence = Presence(
            state=state,
            connection=self._connection,
            sequence=sequence,
            since=since,
            reason=reason,
            instance=self._instance,
        )
        return self._seal("presence", presence)

    def _seal(self, channel: SignedChannel, message: WireMessage) -> bytes:
        return sign_up(message.to_bytes(), channel, self._key, self._key_id)
