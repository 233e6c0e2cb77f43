"""Builds and stores a version's manifest, and has the model's TUF role list it: what devices serve nothing without."""

from collections.abc import Mapping, Sequence

from sqlmodel import Session

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.encryption import EncryptedFile, encrypted_size
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import Variant, VersionManifest
from shoal_hub.database import utc_now
from shoal_hub.errors import ConflictError
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.records import keep_records
from shoal_hub.registry.tables import Artifact, VariantRow, Version
from shoal_hub.registry.versions import find_variants
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust


def publish_manifest(
    session: Session, store: ArtifactStore, trust: HubTrust, director: Director, version: Version
) -> ArtifactRef:
    """Store the manifest of a version as it stands, note it in the version, and list it in the model's role.

    The same version with the same variants gives the same bytes, so repeating this changes nothing.

    Raises:
        ConflictError: The version has no variant yet, or its manifest, or the model's list of them, is larger than
            devices take.
        SignerError: A key that signs the listing is not at this hub.
    """
    keep_records(session, store, director.sign, version)
    manifest = _checked(version, build_manifest(version, find_variants(session, version)))
    trust.writing(session).list_manifest(version.model, version.number, manifest)
    stored = store_artifact(session, store, manifest)
    version.manifest_sha256, version.manifest_size_bytes = stored
    session.add(version)
    return ArtifactRef(sha256=stored.sha256, size_bytes=stored.size_bytes)


def manifest_to_serve(session: Session, version: Version) -> bytes:
    """Return a version's manifest for a server beside the hub; it is the one that devices get, and nothing is written.

    Raises:
        ConflictError: The version has no variant yet, or is encrypted.
    """
    if version.is_encrypted:
        msg = f"{version.model} version {version.number} is encrypted: it leaves this hub for devices alone"
        raise ConflictError(msg, "roll it out to devices, or serve a version that is not encrypted")
    return build_manifest(version, find_variants(session, version)).to_bytes()


def rehearse_manifest(session: Session, trust: HubTrust, version: Version) -> ArtifactRef:
    """Return what `publish_manifest` would, for a start that is only tried, in a session that is not kept.

    Nothing is written but the session's rows: no file, no key, no signature. Where a ciphertext is still to be made,
    the manifest has its size and a hash that no file has.

    Raises:
        ConflictError, SignerError: As by `publish_manifest`.
    """
    variants = find_variants(session, version)
    to_come = {row.target: _to_be_encrypted(row) for row in variants if version.is_encrypted and row.encrypted is None}
    made = build_manifest(version, variants, to_come)
    manifest = _checked(version, made)
    trust.reading(session).check_manifest(version.model, version.number, manifest)
    ref = ArtifactRef(sha256=sha256_hex(manifest), size_bytes=len(manifest))
    if session.get(Artifact, ref.sha256) is None:
        session.add(Artifact(sha256=ref.sha256, size_bytes=ref.size_bytes, created_at=utc_now()))
    version.manifest_sha256, version.manifest_size_bytes = ref.sha256, ref.size_bytes
    session.add(version)
    session.flush()
    return ref


def _to_be_encrypted(row: VariantRow) -> EncryptedFile:
    return EncryptedFile(sha256="0" * 64, size_bytes=encrypted_size(row.size_bytes))


def _checked(version: Version, manifest: VersionManifest) -> bytes:
    """Return a manifest's bytes.

    Raises:
        ConflictError: It is larger than devices take.
    """
    data = manifest.to_bytes()
    if len(data) > MAX_MANIFEST_BYTES:
        msg = f"the manifest of {version.model} version {version.number} has {len(data)} bytes"
        raise ConflictError(
            msg, f"devices take {MAX_MANIFEST_BYTES}: register with fewer input features or a smaller sample"
        )
    return data


def build_manifest(
    version: Version, variants: Sequence[VariantRow], to_come: Mapping[str, EncryptedFile] | None = None
) -> VersionManifest:
    """Return the statement about a version and these variants.

    Args:
        version: The version.
        variants: Its variants.
        to_come: By target, what stands for ciphertexts that are still to be made.

    Raises:
        ConflictError: There is no variant, or one of an encrypted version has no ciphertext.
    """
    if not variants:
        raise ConflictError(
            f"{version.model} version {version.number} has no variant that a device could run",
            f"make them: shoal models compress {version.model} {version.number}",
        )
    standing_in = to_come or {}
    if version.is_encrypted and any(row.encrypted is None and row.target not in standing_in for row in variants):
        raise ConflictError(
            f"{version.model} version {version.number} is to be encrypted, and a variant of it is not yet",
            "start its rollout again: that encrypts what is missing",
        )
    return VersionManifest(
        model=version.model,
        version=version.number,
        created_at=max(version.created_at, *(row.created_at for row in variants)),
        inputs=version.inputs,  # type: ignore[arg-type]  # JSON of these types; pydantic reads and checks it
        outputs=version.outputs,  # type: ignore[arg-type]
        labels=tuple(version.labels),
        batching=version.batching,  # type: ignore[arg-type]
        golden_inputs=version.golden_inputs,
        variants=tuple(_variant(row, standing_in.get(row.target)) for row in variants),
        baseline=version.baseline,  # type: ignore[arg-type]
        provenance=version.provenance,  # type: ignore[arg-type]
        processing=version.processing,  # type: ignore[arg-type]
    )


def _variant(row: VariantRow, to_come: EncryptedFile | None) -> Variant:
    made = Variant.model_validate(row, from_attributes=True)
    return made if to_come is None else made.model_copy(update={"encrypted": to_come})
