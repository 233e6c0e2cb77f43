"""Builds and stores a version's manifest, and has the model's TUF role list it: what devices serve nothing without."""

from collections.abc import Sequence

from sqlmodel import Session

from shoal_contract.desired import ArtifactRef
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import Variant, VersionManifest
from shoal_hub.errors import ConflictError
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.records import keep_records
from shoal_hub.registry.tables import VariantRow, Version
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
    manifest = build_manifest(version, find_variants(session, version)).to_bytes()
    if len(manifest) > MAX_MANIFEST_BYTES:
        msg = f"the manifest of {version.model} version {version.number} has {len(manifest)} bytes"
        raise ConflictError(
            msg, f"devices take {MAX_MANIFEST_BYTES}: register with fewer input features or a smaller sample"
        )
    trust.writing(session).list_manifest(version.model, version.number, manifest)
    stored = store_artifact(session, store, manifest)
    version.manifest_sha256, version.manifest_size_bytes = stored
    session.add(version)
    return ArtifactRef(sha256=stored.sha256, size_bytes=stored.size_bytes)


def build_manifest(version: Version, variants: Sequence[VariantRow]) -> VersionManifest:
    """Return the statement about a version and these variants.

    Raises:
        ConflictError: There is no variant, or one of an encrypted version has no ciphertext.
    """
    if not variants:
        raise ConflictError(
            f"{version.model} version {version.number} has no variant that a device could run",
            f"make them: shoal models compress {version.model} {version.number}",
        )
    if version.is_encrypted and any(row.encrypted is None for row in variants):
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
        golden_inputs=version.golden_inputs,
        variants=tuple(_variant(row) for row in variants),
        baseline=version.baseline,  # type: ignore[arg-type]
        provenance=version.provenance,  # type: ignore[arg-type]
    )


def _variant(row: VariantRow) -> Variant:
    return Variant.model_validate(row, from_attributes=True)
