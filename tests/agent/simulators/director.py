"""A director key of the test's own: signs desired states as the hub would, or wrongly on purpose."""

from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel, DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE, sign
from shoal_contract.ids import sha256_hex
from shoal_contract.manifest import VersionManifest

DEVICE = "d-abcdefghijklmnop"
KEY_ID = "director-1"
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = {KEY_ID: KEY.public_key()}


def state_of(generation: int = 1, **changes: Any) -> DesiredState:
    fields: dict[str, Any] = {
        "device_id": DEVICE,
        "epoch": 1,
        "generation": generation,
        "issued_at": NOW,
        "expires_at": NOW + timedelta(days=30),
    }
    return DesiredState.model_validate(fields | changes)


def sign_state(state: DesiredState, key: Ed25519PrivateKey = KEY, key_id: str = KEY_ID) -> bytes:
    return sign(state.to_bytes(), DESIRED_STATE_TYPE, key, key_id)


def ref_of(data: bytes) -> ArtifactRef:
    return ArtifactRef(sha256=sha256_hex(data), size_bytes=len(data))


def wanted_of(manifest: VersionManifest, deployment: str, target: str | None = None) -> DesiredModel:
    """Return the desired state's section that asks for the manifest's first variant, or for `target`."""
    return DesiredModel(
        version=manifest.version,
        target=target or manifest.variants[0].target,
        manifest=ref_of(manifest.to_bytes()),
        deployment=deployment,
    )
