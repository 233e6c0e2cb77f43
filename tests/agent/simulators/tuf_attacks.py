"""What somebody at the broker can do to TUF's metadata, with old messages, stolen keys or none."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from securesystemslib.signer import CryptoSigner
from tests.simulators.hub import HubStandIn
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp

from shoal_contract import topics
from shoal_contract.trust import TrustIndex


def _rollback(hub: HubStandIn) -> None:
    old = hub.repository.files["timestamp"]
    hub.repository.wait_for_another_ms()
    hub.repository.publish()
    hub.publish_trust()
    version = hub.repository.signed["timestamp"].version
    hub.wait_until(lambda seen: bool(seen.trust and seen.trust.timestamp_version == version))
    hub.publish(topics.TRUST_TIMESTAMP, old)


def _freeze(hub: HubStandIn) -> None:
    timestamp = hub.repository.signed["timestamp"]
    dying = Timestamp(
        version=timestamp.version + 1,
        expires=datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=2),
        snapshot_meta=MetaFile(hub.repository.signed["snapshot"].version),
    )
    hub.publish(topics.TRUST_TIMESTAMP, _signed(dying, hub.repository.signers["timestamp"][0]))


def _mix_and_match(hub: HubStandIn) -> None:
    hub.repository.wait_for_another_ms()
    hub.repository.publish()
    snapshot = hub.repository.signed["snapshot"]
    other = Snapshot.from_dict(snapshot.to_dict())
    other.version -= 1
    forged = _signed(other, hub.repository.signers["snapshot"][0])
    hub.publish(topics.trust_metadata(snapshot.version, "snapshot"), forged)
    hub.publish(topics.TRUST_INDEX, hub.repository.index())
    hub.publish(topics.TRUST_TIMESTAMP, hub.repository.files["timestamp"])


def _wrong_length(hub: HubStandIn) -> None:
    targets = hub.repository.signed["targets"].version
    hub.repository.wait_for_another_ms()
    hub.repository.publish()
    snapshot = hub.repository.signed["snapshot"]
    other = Snapshot.from_dict(snapshot.to_dict())
    assert isinstance(other, Snapshot)
    other.meta["targets.json"] = MetaFile(targets, length=100_000)
    forged = _signed(other, hub.repository.signers["snapshot"][0])
    hub.publish(topics.trust_metadata(snapshot.version, "snapshot"), forged)
    hub.publish(topics.TRUST_INDEX, hub.repository.index())
    hub.publish(topics.TRUST_TIMESTAMP, hub.repository.files["timestamp"])


def _endless_data(hub: HubStandIn) -> None:
    hub.publish(topics.TRUST_TIMESTAMP, b" " * 500_000)


def _key_compromise_below_threshold(hub: HubStandIn) -> None:
    """One of the two root keys makes a root that names the thief's timestamp key."""
    thief = CryptoSigner.generate_ed25519()
    root = Root.from_dict(hub.repository.root.to_dict())
    root.version += 1
    root.add_key(thief.public_key, "timestamp")
    hub.publish(topics.trust_metadata(root.version, "root"), _signed(root, hub.repository.signers["root"][0]))
    hub.publish(topics.TRUST_INDEX, _index_with(hub, f"{root.version}.root"))


def _strangers_key(hub: HubStandIn) -> None:
    timestamp = Timestamp.from_dict(hub.repository.signed["timestamp"].to_dict())
    timestamp.version += 1000
    hub.publish(topics.TRUST_TIMESTAMP, _signed(timestamp, CryptoSigner.generate_ed25519()))


def _slow_retrieval(hub: HubStandIn) -> None:
    upcoming = hub.repository.root.version + 1
    hub.publish(topics.trust_metadata(upcoming, "root"), b"")
    hub.publish(topics.TRUST_INDEX, _index_with(hub, f"{upcoming}.root"))


def _index_with(hub: HubStandIn, name: str) -> bytes:
    return TrustIndex(names=(*hub.repository.names, name)).to_bytes()


def _signed(signed: Any, signer: CryptoSigner) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(signer)
    return metadata.to_bytes()


TUF_ATTACKS: dict[str, tuple[Callable[[HubStandIn], None], str]] = {
    "rollback": (_rollback, "tuf_rollback"),
    "freeze": (_freeze, "tuf_expired"),
    "mix-and-match": (_mix_and_match, "tuf_rollback"),
    "endless-data": (_endless_data, "tuf_endless"),
    "wrong-length": (_wrong_length, "tuf_mismatch"),
    "key-compromise-below-threshold": (_key_compromise_below_threshold, "tuf_signature"),
    "a-strangers-key": (_strangers_key, "tuf_signature"),
    "slow-retrieval": (_slow_retrieval, "tuf_slow"),
}
