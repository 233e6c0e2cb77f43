"""Keeps the records of a version's supply chain as artifacts: signed provenance, bill of materials.

Versions and variants are made by the API and by jobs. Jobs run frameworks on what was uploaded, so the signing key is
never with them: what they made is stated here, by the API, before it is shown or rolled out.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlmodel import Session, select

from shoal_contract.ids import sha256_hex
from shoal_hub.registry.artifacts import ArtifactStore, store_artifacts
from shoal_hub.registry.bom import build_bom
from shoal_hub.registry.card import VersionCard, original_file, version_card
from shoal_hub.registry.provenance import PAYLOAD_TYPE, Sign, Statement, state_variant, state_version
from shoal_hub.registry.tables import Artifact, VariantRow, Version
from shoal_hub.registry.versions import find_variants


class Stated(NamedTuple):
    """One signed statement: about the version (an empty target) or a variant."""

    target: str
    sha256: str
    envelope: dict[str, Any]
    statement: dict[str, Any]


def keep_records(session: Session, store: ArtifactStore, sign: Sign, version: Version) -> None:
    """State where a version and its variants come from, if that is not done, and store its bill of materials."""
    parent, variants = _parent(session, version), find_variants(session, version)
    stated: list[tuple[Version | VariantRow, Statement]] = []
    if version.provenance_sha256 is None:
        stated.append((version, state_version(version, parent)))
    stated += [(row, state_variant(version, row)) for row in variants if row.provenance_sha256 is None]
    envelopes = [sign(statement.to_bytes(), PAYLOAD_TYPE) for _, statement in stated]
    bom = _bom(session, version, parent, variants)
    *kept, kept_bom = store_artifacts(session, store, [*envelopes, bom])
    for (row, _), one in zip(stated, kept, strict=True):  # together and at last: what has changed is written once
        row.provenance_sha256 = one.sha256
        session.add(row)
    version.bom_sha256 = kept_bom.sha256
    session.add(version)
    session.flush()


def are_kept(session: Session, version: Version) -> bool:
    """Whether the records of a version are those of the variants that it has now."""
    variants = find_variants(session, version)
    if None in {version.provenance_sha256, *(row.provenance_sha256 for row in variants)}:
        return False
    return version.bom_sha256 == sha256_hex(_bom(session, version, _parent(session, version), variants))


def read_statements(session: Session, store: ArtifactStore, version: Version) -> list[Stated]:
    """Return the statements that are kept of a version, its own first."""
    named = [("", version.provenance_sha256)]
    named += [(row.target, row.provenance_sha256) for row in find_variants(session, version)]
    return [_stated(target, sha256, store.read(sha256)) for target, sha256 in named if sha256 is not None]


def read_card(session: Session, version: Version) -> VersionCard:
    """Return a version's model card with what was measured of it."""
    return _card(session, version, find_variants(session, version))


def _card(session: Session, version: Version, variants: Sequence[VariantRow]) -> VersionCard:
    original = session.get(Artifact, original_file(version))
    return version_card(version, variants, original.size_bytes if original else 0)


def _bom(session: Session, version: Version, parent: Version | None, variants: Sequence[VariantRow]) -> bytes:
    return build_bom(version, parent, variants, _card(session, version, variants))


def _parent(session: Session, version: Version) -> Version | None:
    number = version.provenance.get("parent_version")
    wanted = select(Version).where(Version.model == version.model, Version.number == number)
    return session.exec(wanted).first() if number is not None else None


def _stated(target: str, sha256: str, data: bytes) -> Stated:
    envelope = json.loads(data)
    return Stated(target, sha256, envelope, json.loads(base64.b64decode(envelope["payload"])))
