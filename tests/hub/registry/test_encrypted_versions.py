"""Encrypted versions in the registry, on both engines: ciphertext is what leaves the hub; the manifest names both."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlmodel import Session, select
from tests.hub.registry.bundles import post_bundle, write_bundle
from tests.simulators.rows import NOON, add_version

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.encryption import decrypt_file
from shoal_hub.context import HubContext
from shoal_hub.errors import ConflictError
from shoal_hub.registry.encrypt import (
    VersionKeyRow,
    VersionRef,
    encrypt_variants,
    mark_encrypted,
    open_version_key,
    reseal_version_keys,
    travels_as,
)
from shoal_hub.registry.publish import build_manifest, publish_manifest
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.registry.versions import find_variants, find_version
from shoal_hub.transfer.needs import model_artifacts
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.version_keys import VersionKeys

PLAIN = {"generic-onnx-int8": b"the model's own bytes" * 9000, "pi4-litert-int8": b"another file" * 10}
REF = ArtifactRef(sha256="0" * 64, size_bytes=1)
URL = "/api/v1/models/digits/versions"


@pytest.fixture
def version(hub: HubContext) -> Version:
    with hub.database.transaction() as session:
        return add_version(session, hub.artifacts, 1, PLAIN, is_encrypted=True)


def encrypt(session: Session, hub: HubContext, number: int = 1) -> list[VariantRow]:
    version = find_version(session, "digits", str(number))
    encrypt_variants(session, hub.artifacts, hub.version_keys, version, NOON)
    return find_variants(session, version)


def test_each_variant_gets_a_ciphertext_that_the_versions_key_opens(hub: HubContext, version: Version) -> None:
    with hub.database.transaction() as session:
        variants = encrypt(session, hub)
        key = open_version_key(session, hub.version_keys, VersionRef.of(version))
    assert key is not None
    for variant in variants:
        assert variant.encrypted is not None
        sealed = hub.artifacts.read(variant.encrypted.sha256)
        assert len(sealed) == variant.encrypted.size_bytes
        assert PLAIN[variant.target][:32] not in sealed
        assert decrypt_file(sealed, key, variant.sha256, variant.size_bytes) == PLAIN[variant.target]


@pytest.mark.usefixtures("version")
def test_encrypting_again_changes_nothing_and_a_new_variant_is_added_under_the_same_key(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        before = {one.target: one.encrypted_sha256 for one in encrypt(session, hub)}
        assert {one.target: one.encrypted_sha256 for one in encrypt(session, hub)} == before
        replaced = find_variants(session, find_version(session, "digits", "1"))[0]
        replaced.encrypted_sha256 = replaced.encrypted_size_bytes = None
        session.flush()
        assert {one.target: one.encrypted_sha256 for one in encrypt(session, hub)} == before
        assert len(session.exec(select(VersionKeyRow)).all()) == 1


def test_the_database_holds_no_key_of_a_version(hub: HubContext, version: Version) -> None:
    with hub.database.transaction() as session:
        encrypt(session, hub)
        key = open_version_key(session, hub.version_keys, VersionRef.of(version))
        assert key is not None
        row = session.exec(text("SELECT sealed FROM version_keys")).one()  # type: ignore[call-overload]
    assert key not in bytes(row[0])
    path = Path(str(hub.database.engine.url.database))
    if hub.database.engine.dialect.name == "sqlite":
        assert not any(key in one.read_bytes() for one in path.parent.glob("hub.sqlite*"))


@pytest.mark.usefixtures("version")
def test_the_manifest_names_the_plain_file_and_the_ciphertext(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        variants = encrypt(session, hub)
        manifest = build_manifest(find_version(session, "digits", "1"), variants)
    for variant in manifest.variants:
        assert variant.encrypted is not None
        assert variant.travels_as.sha256 == variant.encrypted.sha256 != variant.sha256


@pytest.mark.usefixtures("version")
def test_no_manifest_is_made_while_a_variant_would_travel_in_plain(hub: HubContext) -> None:
    with hub.database.transaction() as session, pytest.raises(ConflictError, match="a variant of it is not yet"):
        publish_manifest(session, hub.artifacts, hub.trust, hub.director, find_version(session, "digits", "1"))
    with hub.database.session() as session:
        variants = find_variants(session, find_version(session, "digits", "1"))
        assert [travels_as(one.sha256, one.encrypted_sha256, is_encrypted=True) for one in variants] == [None, None]
        wanted = DesiredModel(version=1, target="pi4-litert-int8", manifest=REF, deployment="dp-1")
        assert model_artifacts(session, "digits", wanted) == [REF.sha256]


def test_a_version_that_is_not_encrypted_gets_no_key(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 2, PLAIN)
        assert [one.encrypted for one in encrypt(session, hub, 2)] == [None, None]
        assert session.exec(select(VersionKeyRow)).all() == []


def test_two_versions_of_the_same_file_have_ciphertexts_of_their_own(hub: HubContext, version: Version) -> None:  # noqa: ARG001
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 2, PLAIN, is_encrypted=True)
        first, second = encrypt(session, hub, 1), encrypt(session, hub, 2)
    assert [one.sha256 for one in first] == [one.sha256 for one in second]
    assert not {one.encrypted_sha256 for one in first} & {one.encrypted_sha256 for one in second}


def test_a_version_is_encrypted_through_the_api_until_it_has_gone_out(client: TestClient, hub: HubContext) -> None:
    with hub.database.transaction() as session:
        for number in (1, 2):
            add_version(session, hub.artifacts, number, PLAIN)
        publish_manifest(session, hub.artifacts, hub.trust, hub.director, find_version(session, "digits", "2"))
    for _ in range(2):
        answer = client.post(f"{URL}/1/encrypt")
        assert (answer.status_code, answer.json()["is_encrypted"]) == (200, True)
    refused = client.post(f"{URL}/2/encrypt")
    assert refused.status_code == 409
    assert "--encrypted" in refused.json()["error"]["remedy"]
    assert not client.get(f"{URL}/2").json()["is_encrypted"]
    assert client.post(f"{URL}/9/encrypt").status_code == 404


def test_a_versions_key_is_no_artifact_and_in_no_answer(client: TestClient, hub: HubContext, version: Version) -> None:
    with hub.database.transaction() as session:
        encrypt(session, hub)
        key = open_version_key(session, hub.version_keys, VersionRef.of(version))
    assert key is not None
    shown = client.get(f"{URL}/1").text
    assert key.hex() not in shown
    assert all(one["encrypted_sha256"] for one in client.get(f"{URL}/1").json()["variants"])


def test_registering_takes_the_wish_and_the_models_policy(client: TestClient, tmp_path: Path) -> None:
    def registered(seed: int, request: str = "{}") -> bool:
        return bool(
            post_bundle(client, write_bundle(tmp_path / str(seed), seed=seed), request=request).json()["is_encrypted"]
        )

    assert [registered(0), registered(1, '{"is_encrypted": true}'), registered(2)] == [False, True, False]
    shown = client.patch("/api/v1/models/colours", json={"encrypt_versions": True}).json()
    assert shown["encrypt_versions"] is True
    assert [registered(3), registered(4, '{"is_encrypted": false}')] == [True, True]


def test_the_keys_are_sealed_again_by_a_new_key_and_open_as_before(hub: HubContext, version: Version) -> None:
    with hub.database.transaction() as session:
        encrypt(session, hub)
        before = open_version_key(session, hub.version_keys, VersionRef.of(version))
        sealed = session.get_one(VersionKeyRow, version.id).sealed
    for _ in range(3):
        assert reseal_version_keys(hub.database, VersionKeys.open(hub.settings.data / "trust")) == 1
    with hub.database.session() as session:
        assert session.get_one(VersionKeyRow, version.id).sealed != sealed
        assert open_version_key(session, hub.version_keys, VersionRef.of(version)) == before, (
            "the running hub sees the new key"
        )
    keys = VersionKeys.open(hub.settings.data / "trust")
    with pytest.raises(TrustError):
        keys.unseal(sealed, "digits version 1")


def test_marking_twice_is_marking_once(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        version = add_version(session, hub.artifacts, 1, PLAIN)
        mark_encrypted(session, version, by="ada")
        mark_encrypted(session, version, by="ada")
        assert version.is_encrypted
