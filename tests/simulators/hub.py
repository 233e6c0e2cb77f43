"""A stand-in for the hub on a real Mosquitto: it enrols a device, signs, publishes and acknowledges.

It says what a test wants said, right or wrong; what the real hub says is tested with the real hub.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.simulators.broker import Broker, Listening, listening, running_broker
from tests.simulators.tuf_repository import TufRepository

from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.identity import load_or_make_key, make_signing_request, save_identity
from shoal_contract import topics
from shoal_contract.ack import Ack
from shoal_contract.batch import unpack
from shoal_contract.carrying import read_report
from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredRound, DesiredState
from shoal_contract.device_signature import device_key_id, verify_up
from shoal_contract.enrolment import EnrolmentResponse
from shoal_contract.envelope import DESIRED_STATE_TYPE, sign
from shoal_contract.errors import MessageError
from shoal_contract.ids import new_device_id
from shoal_contract.manifest import VersionManifest
from shoal_contract.reported import Presence, ReportedState, TrustReport
from shoal_contract.telemetry import Event, OutboxPosition, TelemetryMessage
from shoal_contract.transfer import describe, split
from shoal_contract.trust import director_role
from shoal_hub.devices.certificates import DeviceKeys
from shoal_hub.mqtt import Message

WAIT_S = 30.0


@dataclass
class HubStandIn:
    """Speaks the hub's part for one device."""

    broker: Broker
    ears: Listening
    device_id: str = field(default_factory=new_device_id)
    generation: int = 0
    events: list[Event] = field(default_factory=list)
    telemetry: list[TelemetryMessage] = field(default_factory=list)
    presences: list[Presence] = field(default_factory=list)
    reported: ReportedState | None = None
    acknowledges: bool = True
    keys: DeviceKeys = field(default_factory=dict)
    api_url: str = ""

    @property
    def repository(self) -> TufRepository:
        return self.broker.repository

    @property
    def trust(self) -> TrustReport | None:
        """What the device reports of its trust."""
        return self.reported.trust if self.reported else None

    def enrol(self, identity_dir: Path, **changes: Any) -> None:
        """Give a device its identity, as the hub's answer to its enrolment would, but for `changes`."""
        load_or_make_encryption_key(identity_dir, self.device_id)
        key = load_or_make_key(identity_dir)
        self.keys[device_key_id(key.public_key())] = key.public_key()
        csr = x509.load_pem_x509_csr(make_signing_request(key).encode())
        certificate = self.broker.devices.issue(csr, self.device_id)
        response = EnrolmentResponse(
            device_id=self.device_id,
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            ca_pem=self.broker.devices.certificate_pem,
            broker_host="127.0.0.1",
            broker_port=self.broker.device_port,
            api_url=self.api_url,
            trust_root=self.repository.trust_root.decode(),
        )
        save_identity(identity_dir, response.model_copy(update=changes))
        self.publish_trust()

    def publish_trust(self) -> None:
        """Publish all of TUF's metadata as it stands, then timestamp and index."""
        for name in self.repository.names:
            version, _, role = name.partition(".")
            self.publish(topics.trust_metadata(int(version), unquote(role)), self.repository.files[name])
        self.publish(topics.TRUST_TIMESTAMP, self.repository.files["timestamp"])
        self.publish(topics.TRUST_INDEX, self.repository.index())

    def publish_manifest(self, manifest: VersionManifest) -> bytes:
        """Publish a version's manifest and let its role list it; return its bytes."""
        data = manifest.to_bytes()
        self.repository.list_manifest(manifest.model, manifest.version, data)
        self.publish_artifact(data)
        self.publish_trust()
        return data

    def wait_connected(self) -> None:
        """Wait until the hub's own connection stands again, after the broker was away."""
        deadline_s = time.monotonic() + WAIT_S
        while not self.ears.connection.is_connected:
            assert time.monotonic() < deadline_s, "the hub's connection does not come back"
            time.sleep(0.02)

    def publish(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        self.ears.connection.publish(topic, payload, qos=1, retain=retain).result(WAIT_S)

    def publish_artifact(self, data: bytes, skip: frozenset[int] = frozenset(), chunk_bytes: int = 16 * 1024) -> str:
        """Publish an artifact's chunks, but for those in `skip`, then its transfer manifest; return its hash."""
        manifest = describe(data, chunk_bytes)
        for index, chunk in enumerate(split(data, chunk_bytes)):
            if index not in skip:
                self.publish(topics.artifact_chunk(manifest.sha256, index), chunk)
        self.publish(topics.artifact_manifest(manifest.sha256), manifest.to_bytes())
        return manifest.sha256

    def desired(
        self,
        models: dict[str, DesiredModel],
        rounds: dict[str, DesiredRound] | None = None,
        config: DesiredConfig | None = None,
        key: Ed25519PrivateKey | None = None,
        **changes: Any,
    ) -> bytes:
        """Sign the next desired state by the director of its epoch, or by `key`; `changes` make it wrong on purpose."""
        self.generation += 1
        now = datetime.now(timezone.utc)
        fields: dict[str, Any] = {
            "device_id": self.device_id,
            "epoch": 1,
            "generation": self.generation,
            "issued_at": now,
            "expires_at": now + timedelta(days=30),
            "models": models,
            "federated": rounds or {},
            "config": config or DesiredConfig(),
        }
        state = DesiredState.model_validate(fields | changes)
        key = key or self.repository.directors[state.epoch]
        return sign(state.to_bytes(), DESIRED_STATE_TYPE, key, director_role(state.epoch))

    def want(self, models: dict[str, DesiredModel], **more: Any) -> None:
        self.publish(topics.down_desired(self.device_id), self.desired(models, **more))

    def wait_until(self, holds: Callable[["HubStandIn"], bool], timeout_s: float = WAIT_S) -> None:
        """Take what the device sends until `holds`; acknowledge it as the hub would."""
        deadline_s = time.monotonic() + timeout_s
        while not holds(self):
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"waited in vain; reported: {self.reported}; events: {self.events[-5:]}"
            self._take(self.ears.wait_for(Message, left_s))

    def wait_for_section(self, key: str, state: str, deployment: str | None = None) -> ReportedState:
        """Wait until the device reports one section in `state`."""

        def holds(hub: "HubStandIn") -> bool:
            section = hub.reported.sections.get(key) if hub.reported else None
            return (
                section is not None
                and section.state == state
                and (deployment is None or section.deployment == deployment)
            )

        self.wait_until(holds)
        assert self.reported is not None
        return self.reported

    def _take(self, message: Message) -> None:
        channel = topics.parse_up(message.topic).channel
        assert channel != "blob"
        payload = verify_up(message.payload, channel, self.keys).payload
        if channel == "reported":
            report = read_report(payload)
            self.reported = report.state
            self._keep_each(report.carried)
        elif channel == "presence":
            self.presences.append(Presence.model_validate_json(payload))
        elif channel in {"events", "windows"}:
            self._keep_each(unpack(payload, channel))  # type: ignore[arg-type]
        else:
            kind = Event if channel == "event" else TelemetryMessage
            place = json.loads(payload).get("outbox") or json.loads(payload).get("body", {}).get("outbox")
            self._keep(kind.model_validate_json(payload), place and OutboxPosition.model_validate(place))

    def _keep_each(self, found: Iterable[tuple[OutboxPosition, Event | TelemetryMessage | MessageError]]) -> None:
        for place, message in found:
            assert isinstance(message, Event | TelemetryMessage), message
            self._keep(message, place)

    def _keep(self, message: Event | TelemetryMessage, place: OutboxPosition | None) -> None:
        (self.events if isinstance(message, Event) else self.telemetry).append(message)  # type: ignore[arg-type]
        if self.acknowledges and place is not None:
            ack = Ack(stream=place.stream, sequence=place.sequence)
            self.publish(topics.down_ack(self.device_id), ack.to_bytes(), retain=False)


@contextmanager
def hub_stand_in(folder: Path) -> Iterator[HubStandIn]:
    """Run a broker and the stand-in for the length of the block."""
    with running_broker(folder) as broker, hub_of_one(broker) as stand_in:
        yield stand_in


@contextmanager
def hub_of_one(broker: Broker) -> Iterator[HubStandIn]:
    """Run the stand-in for one new device on a broker that others may share."""
    device_id = new_device_id()
    own = f"{topics.ROOT}/device/{device_id}/up/#"
    with listening(broker.endpoint(f"hub-of-{device_id}"), own) as ears:
        yield HubStandIn(broker, ears, device_id)
