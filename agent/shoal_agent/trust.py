"""What the device believes: pure checks that turn received bytes into a desired state or a manifest.

Nothing here does I/O. A state that is refused changes nothing; what runs keeps running.
"""

from collections.abc import Mapping
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shoal_agent.errors import ArtifactError, HeldError, TrustError
from shoal_contract.desired import DesiredModel, DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE, named_keys, verify
from shoal_contract.errors import EnvelopeError, MessageError
from shoal_contract.limits import MAX_ENVELOPE_BYTES, MAX_MANIFEST_BYTES
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Runtime
from shoal_contract.trust import director_role, epoch_of
from shoal_contract.wire import parse_message

Keys = Mapping[str, Ed25519PublicKey]
"""Keys of the directors that TUF's top-level targets delegate to, by role."""


class ForgedError(TrustError):
    """No valid signature by a director that this device trusts, or not a desired state at all."""

    code = "desired_forged"


class UnknownDirectorError(HeldError):
    """Signed by a director that this device does not know, or not yet. It is checked again after a refresh of TUF."""

    code = "desired_held"


class OtherDeviceError(TrustError):
    """Signed, but for another device."""

    code = "desired_other_device"


class OlderError(TrustError):
    """An older epoch or generation than the one already accepted."""

    code = "desired_older"
    default_remedy = "the hub publishes the current one again by itself"


class ExpiredError(TrustError):
    """Past its expiry, so the device does not start to act on it."""

    code = "desired_expired"
    default_remedy = "check the clocks of hub and device; the hub signs again by itself"


def verify_desired(
    envelope: bytes, *, keys: Keys, device_id: str, current: tuple[int, int], now: datetime
) -> DesiredState:
    """Check a received desired state.

    Args:
        envelope: The payload of `down/desired`.
        keys: Director keys by id.
        device_id: This device.
        current: `(epoch, generation)` of the state in force; the same one is accepted (signed again).
        now: Trusted time.

    Raises:
        UnknownDirectorError: TUF does not list the director, as far as this device knows.
        ForgedError: Signature, form or key do not hold.
        OtherDeviceError: It is for another device.
        OlderError: It is older than `current`: a lower epoch, whatever its generation, or a lower generation.
        ExpiredError: It is past its expiry.
    """
    _check_director(envelope, keys, current)
    state = read_desired(envelope, keys=keys, device_id=device_id)
    if state.order < current:
        message = f"checking desired state: epoch and generation {state.order} found, at least {current} expected"
        raise OlderError(message)
    if state.is_expired(now):
        message = f"checking desired state {state.order}: it expired at {state.expires_at}, now is {now}"
        raise ExpiredError(message)
    return state


def read_desired(envelope: bytes, *, keys: Keys, device_id: str) -> DesiredState:
    """Check signature, form and addressee, but neither order nor expiry: for the state that was accepted before.

    Raises:
        ForgedError: Signature, form or key do not hold.
        OtherDeviceError: It is for another device.
    """
    try:
        verified = verify(envelope, DESIRED_STATE_TYPE, keys, MAX_ENVELOPE_BYTES)
        state = parse_message(DesiredState, verified.payload, MAX_ENVELOPE_BYTES)
    except (EnvelopeError, MessageError) as error:
        raise ForgedError(f"checking desired state: {error}") from error
    if verified.key_id != director_role(state.epoch):
        message = f"checking desired state: epoch {state.epoch} signed by {verified.key_id}"
        raise ForgedError(message)
    if state.device_id != device_id:
        message = f"checking desired state: it is for {state.device_id}, this device is {device_id}"
        raise OtherDeviceError(message)
    return state


def _check_director(envelope: bytes, keys: Keys, current: tuple[int, int]) -> None:
    """Tell a director that is not known from one whose signature is wrong, before any signature is checked."""
    try:
        named = named_keys(envelope, MAX_ENVELOPE_BYTES)
    except EnvelopeError as error:
        raise ForgedError(f"checking desired state: {error}") from error
    if any(key_id in keys for key_id in named):
        return
    epochs = [epoch for epoch in map(epoch_of, named) if epoch is not None]
    if not epochs:
        raise ForgedError(f"checking desired state: signed by {', '.join(named)}, and by no director")
    if max(epochs) < current[0]:
        message = f"checking desired state: epoch {max(epochs)} found, at least {current[0]} expected"
        raise OlderError(message)
    message = f"checking desired state: signed by {', '.join(named)}; TUF lists {', '.join(keys) or 'no director yet'}"
    raise UnknownDirectorError(message)


def read_manifest(data: bytes, *, name: str, wanted: DesiredModel) -> VersionManifest:
    """Read a version manifest whose hash TUF or a slot vouches for, and hold it against what is wanted.

    Raises:
        ArtifactError: It is none, or it speaks of another model or version.
    """
    try:
        manifest = parse_message(VersionManifest, data, MAX_MANIFEST_BYTES)
    except MessageError as error:
        raise ArtifactError(f"checking the manifest of {name} version {wanted.version}: {error}") from error
    if (manifest.model, manifest.version) != (name, wanted.version):
        message = (
            f"checking the manifest of {name} version {wanted.version}: "
            f"it is of {manifest.model} version {manifest.version}"
        )
        raise ArtifactError(message)
    return manifest


def choose_variant(
    manifest: VersionManifest, wanted: DesiredModel, *, targets: tuple[str, ...], runtimes: tuple[Runtime, ...]
) -> Variant:
    """Return the variant that the hub asked for, if this device can run it.

    Raises:
        ArtifactError: The version has no such variant, or it is for another target or runtime.
    """
    try:
        variant = manifest.variant_for(wanted.target)
    except MessageError as error:
        raise ArtifactError(str(error), "compress the version for this target and roll it out again") from error
    if variant.target not in targets or variant.runtime not in runtimes:
        message = (
            f"choosing a variant of {manifest.model} version {manifest.version}: {variant.target} needs "
            f"{variant.runtime}; this device has {', '.join(runtimes) or 'no runtime'} and runs {', '.join(targets)}"
        )
        raise ArtifactError(message, "roll out a variant for this device's target, or install the runtime's extra")
    return variant
