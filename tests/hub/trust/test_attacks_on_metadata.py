"""Attacks on what devices fetch, against the client that devices use: python-tuf's own."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.exceptions import BadVersionNumberError, DownloadError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, TargetFile

from shoal_contract.ids import sha256_hex
from shoal_contract.trust import manifest_target
from shoal_hub.database import utc_now
from shoal_hub.trust.renewal import sign_all_again

if TYPE_CHECKING:
    from tests.hub.trust.conftest import TrustedHub

MANIFEST = b'{"version": 1}'
PATH = manifest_target("digits", 1, sha256_hex(MANIFEST))


def test_a_device_finds_what_a_model_s_role_lists_and_nothing_else(hub: "TrustedHub") -> None:
    device = hub.device()
    assert device.lists(hub.files(), PATH) is None
    hub.publish("digits", 1, MANIFEST)
    info = device.lists(hub.files(), PATH)
    assert info is not None
    info.verify_length_and_hashes(MANIFEST)
    assert device.lists(hub.files(), manifest_target("digits", 2, sha256_hex(MANIFEST))) is None


def test_listing_the_same_manifest_again_signs_nothing(hub: "TrustedHub") -> None:
    hub.publish("digits", 1, MANIFEST)
    before = hub.files()
    hub.publish("digits", 1, MANIFEST)
    assert hub.files() == before


def test_rollback_to_an_older_timestamp_is_refused(hub: "TrustedHub") -> None:
    device, old = hub.device(), hub.files()
    hub.publish("digits", 1, MANIFEST)
    device.refresh(hub.files())
    with pytest.raises(BadVersionNumberError):
        device.refresh(old)


def test_freeze_is_noticed_once_the_timestamp_has_expired(hub: "TrustedHub") -> None:
    past = utc_now() - timedelta(days=8)
    with hub.database.transaction() as session:
        for role in ("timestamp",):
            with hub.trust.writing(session, past).edit(role):
                pass
    with pytest.raises(ExpiredMetadataError):
        hub.device().refresh(hub.files())


@pytest.mark.parametrize("role", ["snapshot", "models", "models%2Fdigits", "targets"])
def test_mix_and_match_of_an_older_file_under_the_newest_name_is_refused(hub: "TrustedHub", role: str) -> None:
    hub.publish("digits", 1, MANIFEST)
    with hub.database.transaction() as session:
        hub.trust.publish_ca_bundle(session, "first")
    old = _newest(hub, role)
    with hub.database.transaction() as session:
        hub.trust.publish_ca_bundle(session, "second")
    sign_all_again(hub.database, hub.trust, utc_now(), {})
    device, files = hub.device(), hub.files()
    files[f"{_number(hub, role)}.{role}.json"] = old
    with pytest.raises(RepositoryError):
        device.lists(files, PATH)


def test_one_model_s_key_lists_nothing_for_another_model(hub: "TrustedHub") -> None:
    hub.publish("digits", 1, MANIFEST)
    hub.publish("faces", 1, MANIFEST)
    with hub.database.transaction() as session:
        repository = hub.trust.writing(session)
        path = manifest_target("faces", 2, sha256_hex(b"forged"))
        md = repository.open("models/faces")
        md.signed.targets[path] = TargetFile.from_data(path, b"forged", ["sha256"])
        repository.prepare("models/faces", md)
        for signer in repository.signers("models/digits"):
            md.sign(signer, append=True)
        repository.store("models/faces", md)
        repository.do_snapshot()
        repository.do_timestamp()
    with pytest.raises(RepositoryError, match="models/faces was signed by 0/1 keys"):
        hub.device().lists(hub.files(), path)


def test_a_model_s_role_lists_nothing_outside_of_its_paths(hub: "TrustedHub") -> None:
    hub.publish("digits", 1, MANIFEST)
    path = manifest_target("faces", 1, sha256_hex(MANIFEST))
    with hub.database.transaction() as session:
        repository = hub.trust.writing(session)
        with repository.edit_targets("models/digits") as targets:
            targets.targets[path] = TargetFile.from_data(path, MANIFEST, ["sha256"])
        repository.do_snapshot()
        repository.do_timestamp()
    assert hub.device().lists(hub.files(), path) is None


def test_a_root_that_too_few_keys_have_signed_is_refused(hub: "TrustedHub") -> None:
    device, files = hub.device(), hub.files()
    md = Metadata.from_bytes(files["1.root.json"])
    md.signed.version = 2
    md.signatures.clear()
    files["2.root.json"] = md.to_bytes()
    with pytest.raises(RepositoryError, match="root was signed by 0/1 keys"):
        device.refresh(files)


def test_what_is_missing_is_no_permission(hub: "TrustedHub") -> None:
    files = hub.files()
    del files[f"{hub.version('snapshot')}.snapshot.json"]
    with pytest.raises(DownloadError):
        hub.device().refresh(files)


def _number(hub: "TrustedHub", role: str) -> int:
    return hub.version(role.replace("%2F", "/"))


def _newest(hub: "TrustedHub", role: str) -> bytes:
    return hub.files()[f"{_number(hub, role)}.{role}.json"]
