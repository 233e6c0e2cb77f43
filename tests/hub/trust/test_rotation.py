"""Keys are rotated without touching a device: each role, offline and online, and after every online key was stolen."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner
from sqlmodel import delete, select
from tests.simulators.rows import NOON, add_device
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from shoal_client.tuf import Rotation, SigningRequest
from shoal_contract.desired import MAX_GENERATION, DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import CA_BUNDLE_TARGET, director_role, manifest_target
from shoal_hub.database import utc_now
from shoal_hub.devices.desired import refresh_desired
from shoal_hub.devices.resign import sign_states, states_to_sign
from shoal_hub.devices.tables import DesiredRow
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.tables import EventRow
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.transfer.leases import lease_users
from shoal_hub.trust.director import Director
from shoal_hub.trust.errors import MetadataError, SignerError, TrustError
from shoal_hub.trust.files import write_private
from shoal_hub.trust.hub_trust import CA_BUNDLE_LEASE, HubTrust
from shoal_hub.trust.offline import Plan, make_ceremony, open_signers, read_ceremony, review, sign_request
from shoal_hub.trust.renewal import renew_due, sign_all_again
from shoal_hub.trust.roles import Lives
from shoal_hub.trust.staging import Staging
from shoal_hub.trust.status import read_status
from shoal_hub.trust.tables import TrustMetadata
from shoal_hub.trust.version_keys import VersionKeys

if TYPE_CHECKING:
    from tests.hub.trust.conftest import TrustedHub

MANIFEST = b'{"version": 1}'
PATH = manifest_target("digits", 1, sha256_hex(MANIFEST))
LIFE = timedelta(days=30)
TYPED = b"correct horse battery"
SMALL = Plan(root_keys=2, root_threshold=2)


def rotate(hub: "TrustedHub", role: str, **more: str) -> bool:
    with hub.database.transaction() as session:
        is_done = hub.trust.rotate(session, Rotation(role=role, **more))
    with hub.database.transaction() as session:
        hub.trust.sweep(session)
    return is_done


def key_ids(hub: "TrustedHub", role: str) -> list[str]:
    with hub.database.session() as session:
        return hub.trust.reading(session).delegator(role).get_delegated_role(role).keyids


@pytest.mark.parametrize(
    "role", ["root", "targets", "code", "offline", "snapshot", "timestamp", "models", "models/digits", "director"]
)
def test_a_device_goes_along_with_a_rotation_of_any_role(hub: "TrustedHub", role: str) -> None:
    hub.publish("digits", 1, MANIFEST)
    device = hub.device()
    device.refresh(hub.files())
    named = {"offline": "root", "director": "director-1"}.get(role, role)
    before = key_ids(hub, named)
    assert rotate(hub, role)
    after = key_ids(hub, "director-2" if role == "director" else named)
    assert set(before) & set(after) == set()
    assert device.lists(hub.files(), PATH) is not None
    if role != "director":
        assert not any(hub.trust.online.place(one) or hub.trust.offline.place(one) for one in before)


def test_a_device_that_was_off_through_two_root_rotations_converges(hub: "TrustedHub") -> None:
    device = hub.device()
    device.refresh(hub.files())
    for role in ("root", "timestamp", "root", "snapshot"):
        assert rotate(hub, role)
    hub.publish("digits", 1, MANIFEST)
    assert hub.version("root") == 5
    assert device.lists(hub.files(), PATH) is not None


def test_stolen_online_keys_are_worth_nothing_after_the_rotation(hub: "TrustedHub") -> None:
    hub.publish("digits", 1, MANIFEST)
    device = hub.device()
    device.refresh(hub.files())
    with hub.database.session() as session:
        repository = hub.trust.reading(session)
        stolen = {role: list(repository.signers(role)) for role in ("models/digits", "snapshot", "timestamp")}
    for role in ("models/digits", "models", "snapshot", "timestamp"):
        rotate(hub, role)
    files = hub.files()
    timestamp = Metadata.from_bytes(files["timestamp.json"])
    timestamp.signed.version = 2**62
    timestamp.signatures.clear()
    timestamp.sign(stolen["timestamp"][0])
    with pytest.raises(RepositoryError, match="timestamp was signed by 0/1 keys"):
        device.refresh(files | {"timestamp.json": timestamp.to_bytes()})
    assert device.lists(files, PATH) is not None


def test_a_fast_forward_with_stolen_keys_ends_with_their_rotation(hub: "TrustedHub") -> None:
    device = hub.device()
    with hub.database.transaction() as session:
        repository = hub.trust.writing(session, floor=2**62)
        for role in ("models", "snapshot", "timestamp"):
            with repository.edit(role):
                pass
    device.refresh(hub.files())
    forward = hub.files()
    for role in ("snapshot", "timestamp", "models"):
        rotate(hub, role)
    assert hub.version("timestamp") > Metadata.from_bytes(forward["timestamp.json"]).signed.version
    device.refresh(hub.files())


def test_after_a_compromise_that_sent_the_highest_generation_the_next_key_s_orders_count(
    hub: "TrustedHub", tmp_path: Path
) -> None:
    director, version_keys = Director.open(tmp_path / "trust"), VersionKeys.open(tmp_path / "trust")
    with hub.database.transaction() as session:
        device_id = add_device(session, reported_epoch=1, reported_generation=MAX_GENERATION).id
        refresh_desired(session, director, version_keys, add_device(session).id, NOON, LIFE)
        session.add(
            DesiredRow(
                device_id=device_id,
                epoch=1,
                generation=MAX_GENERATION,
                content_sha256="0" * 64,
                envelope=_state(director, device_id, MAX_GENERATION),
                issued_at=NOON,
                expires_at=NOON + LIFE,
            )
        )
    assert rotate(hub, "director")
    with hub.database.transaction() as session:
        assert hub.trust.follow(session, director)
        assert director.epoch == 2
        due = states_to_sign(session, director.epoch, NOON, LIFE)
        sign_states(session, director, due, NOON, LIFE)
    assert len(due) == 2
    with hub.database.session() as session:
        rows = session.exec(select(DesiredRow)).all()
        assert states_to_sign(session, director.epoch, NOON, LIFE) == []
    assert {(row.epoch, row.generation) for row in rows} == {(2, int(NOON.timestamp() * 1000))}
    assert (1, MAX_GENERATION) < (2, 1)
    # A later change of intents goes on from there, whatever the device reports of the epoch before.
    with hub.database.transaction() as session:
        assert refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
    with hub.database.session() as session:
        assert session.get_one(DesiredRow, device_id).generation == int(NOON.timestamp() * 1000) + 1


def test_the_director_s_next_key_signs_only_once_the_targets_name_it_and_the_one_before_is_erased(
    hub: "TrustedHub", tmp_path: Path
) -> None:
    _take_offline(hub, tmp_path / "ceremony")
    director = Director.open(tmp_path / "trust")
    assert not rotate(hub, "director")
    with hub.database.session() as session:
        assert not hub.trust.follow(session, director)
    assert Director.open(tmp_path / "trust").epoch == 1
    _sign_with(hub, tmp_path / "ceremony" / "keys")
    with hub.database.session() as session:
        assert hub.trust.follow(session, director)
        targets = hub.trust.reading(session).targets()
    assert director.epoch == 2
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    assert director_role(1) not in targets.delegations.roles
    assert len(targets.delegations.keys) == 3, "those of code, models and the next director"
    (key_id,) = targets.delegations.roles[director_role(2)].keyids
    assert targets.delegations.keys[key_id].keyval["public"] == director.public_key_hex
    assert not (tmp_path / "trust" / "director-1.key").exists()
    assert Director.open(tmp_path / "trust").epoch == 2


def test_offline_keys_are_taken_from_the_hub_and_sign_in_parts(hub: "TrustedHub", tmp_path: Path) -> None:
    device = hub.device()
    ceremony = tmp_path / "ceremony"
    make_ceremony(ceremony, TYPED, SMALL)
    root, targets = read_ceremony(ceremony)
    assert not rotate(hub, "offline", root=root, targets=targets)
    with hub.database.session() as session:
        request = Staging(hub.trust.reading(session)).request()
    reviewed = review(request)
    assert any("role root needs 2 signatures, 1 so far" in line for line in reviewed.changes["root"])
    assert "2 more by the keys that the new root names" in reviewed.missing["root"][0]
    first, _ = sign_request(request, open_signers(ceremony / "keys" / "root-1", TYPED))
    assert not _submit(hub, first)
    assert hub.version("root") == 1
    for name in ("root-2", "targets-1", "code-1"):
        request, _ = sign_request(request, open_signers(ceremony / "keys" / name, TYPED))
    assert _submit(hub, request)
    assert hub.version("root") == 2
    with hub.database.transaction() as session:
        assert len(hub.trust.sweep(session)) == 3
        status = read_status(session, hub.trust, utc_now())
    assert not any("lie on the hub" in warning for warning in status.warnings)
    device.refresh(hub.files())
    with pytest.raises(ConflictError, match="kept offline"):
        rotate(hub, "root")


def test_below_the_threshold_a_stolen_offline_key_changes_nothing(hub: "TrustedHub", tmp_path: Path) -> None:
    _take_offline(hub, tmp_path / "ceremony")
    assert not rotate(hub, "timestamp")
    with hub.database.session() as session:
        request = Staging(hub.trust.reading(session)).request()
    signed, _ = sign_request(request, open_signers(tmp_path / "ceremony" / "keys" / "root-1", TYPED))
    assert not _submit(hub, signed)
    device, files = hub.device(), hub.files()
    files[f"{hub.version('root') + 1}.root.json"] = signed.staged["root"].encode()
    with pytest.raises(RepositoryError, match="root was signed by 1/2 keys"):
        device.refresh(files)


def test_signatures_for_something_else_or_by_somebody_else_are_refused(hub: "TrustedHub", tmp_path: Path) -> None:
    _take_offline(hub, tmp_path / "ceremony")
    rotate(hub, "models")
    with hub.database.session() as session:
        request = Staging(hub.trust.reading(session)).request()
    other = Metadata.from_bytes(request.staged["targets"].encode())
    assert isinstance(other.signed, Targets)
    other.signed.version += 1
    with pytest.raises(MetadataError, match="is not what is staged"):
        _submit(hub, SigningRequest(current={}, staged={"targets": other.to_bytes().decode()}))
    stranger = Metadata.from_bytes(request.staged["targets"].encode())
    stranger.sign(CryptoSigner.generate_ed25519())
    with pytest.raises(MetadataError, match="none of those that may sign"):
        _submit(hub, SigningRequest(current={}, staged={"targets": stranger.to_bytes().decode()}))
    with pytest.raises(TrustError, match="none of these keys is wanted"):
        sign_request(request, [CryptoSigner.generate_ed25519()])
    with hub.database.transaction() as session:
        Staging(hub.trust.writing(session)).discard()
        assert Staging(hub.trust.reading(session)).staged() == {}


def test_a_ceremony_that_its_own_keys_have_not_signed_is_refused(hub: "TrustedHub", tmp_path: Path) -> None:
    make_ceremony(tmp_path / "ceremony", TYPED, SMALL)
    root, targets = read_ceremony(tmp_path / "ceremony")
    md = Metadata.from_bytes(root.encode())
    assert isinstance(md.signed, Root)
    md.signed.roles["root"].threshold = 1
    with pytest.raises(MetadataError, match="ceremony"):
        rotate(hub, "offline", root=md.to_bytes().decode(), targets=targets)


def test_what_does_not_exist_or_cannot_be_is_refused_with_the_roles_that_do(hub: "TrustedHub") -> None:
    with pytest.raises(NotFoundError, match="snapshot, timestamp"):
        rotate(hub, "models/nothing")
    with pytest.raises(SignerError, match="Ed25519"):
        rotate(hub, "director", signer="hsm:2")
    with pytest.raises(SignerError, match="hsm:"):
        rotate(hub, "snapshot", signer="https://example.com")


@pytest.mark.parametrize("plan", [Plan(root_keys=1, root_threshold=2), Plan(code_keys=0)])
def test_a_ceremony_whose_threshold_cannot_be_reached_is_refused(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(TrustError, match="were asked for, by"):
        make_ceremony(tmp_path / "new", TYPED, plan)
    with pytest.raises(TrustError, match="at least 12"):
        make_ceremony(tmp_path / "new", b"short", Plan())


def test_a_ceremony_takes_signers_for_offline_roles_alone_and_no_more_than_the_role_has_keys(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="snapshot is no role that is signed offline; those are root, targets, code"):
        make_ceremony(tmp_path / "new", TYPED, Plan(urls=(("snapshot", "hsm:7"),)))
    with pytest.raises(TrustError, match="code gets 1 keys, 2 signers are named for it; raise --code-keys"):
        make_ceremony(tmp_path / "new", TYPED, Plan(urls=(("code", "hsm:7"), ("code", "hsm:8"))))
    with pytest.raises(SignerError, match="the kind gcpkms is not known; use hsm:"):
        make_ceremony(tmp_path / "new", TYPED, Plan(urls=(("code", "gcpkms:projects/p"),)))
    assert not (tmp_path / "new").exists()


def test_a_hub_restored_from_yesterday_is_ahead_of_its_devices_again(hub: "TrustedHub") -> None:
    yesterday = utc_now() - timedelta(days=1)
    hub.publish("digits", 1, MANIFEST, yesterday)
    backup = _rows(hub)
    hub.publish("digits", 2, b"since", utc_now())
    with hub.database.transaction() as session:
        hub.trust.publish_ca_bundle(session, "since")
    device = hub.device()
    device.refresh(hub.files())
    retained = {name.removesuffix(".json"): content for name, content in hub.files().items()}
    _restore(hub, backup)
    with pytest.raises(RepositoryError):
        device.refresh(hub.files())
    sign_all_again(hub.database, hub.trust, utc_now(), retained)
    updater = device.refresh(hub.files())
    assert updater.get_targetinfo(PATH) is not None
    assert updater.get_targetinfo(CA_BUNDLE_TARGET) is not None, "targets that the broker kept are taken up"
    assert updater.get_targetinfo(manifest_target("digits", 2, sha256_hex(b"since"))) is None


def test_a_ca_bundle_stands_for_devices_beside_the_one_before_until_the_next(hub: "TrustedHub") -> None:
    for text in ("first", "second", "third"):
        with hub.database.transaction() as session:
            assert hub.trust.publish_ca_bundle(session, text)
    listed = hub.device().lists(hub.files(), CA_BUNDLE_TARGET)
    assert listed is not None
    assert listed.hashes["sha256"] == sha256_hex(b"third")
    with hub.database.session() as session:
        users = set(lease_users(session))
    assert users == {f"{CA_BUNDLE_LEASE}{sha256_hex(text)}" for text in (b"second", b"third")}


def test_offline_metadata_of_the_broker_counts_only_with_its_signatures(hub: "TrustedHub") -> None:
    files = hub.files()
    version = hub.version("targets")
    forged = Metadata.from_bytes(files[f"{version}.targets.json"])
    forged.signed.version = version + 1
    sign_all_again(hub.database, hub.trust, utc_now(), {f"{version + 1}.targets": forged.to_bytes(), "timestamp": b"x"})
    assert hub.version("targets") == version


def test_metadata_is_renewed_at_half_of_its_life_and_offline_metadata_waits_for_its_keys(
    hub: "TrustedHub", tmp_path: Path
) -> None:
    now = utc_now()
    assert not renew_due(hub.database, hub.trust, now + timedelta(days=3))
    before = {role: hub.version(role) for role in ("timestamp", "snapshot", "targets")}
    assert renew_due(hub.database, hub.trust, now + timedelta(days=4))
    assert hub.version("timestamp") > before["timestamp"]
    assert hub.version("snapshot") == before["snapshot"]
    _take_offline(hub, tmp_path / "ceremony")
    later = now + timedelta(days=200)
    assert renew_due(hub.database, hub.trust, later)
    assert not renew_due(hub.database, hub.trust, later), "it waits and is not staged twice"
    with hub.database.session() as session:
        kinds = [event.kind for event in session.exec(select(EventRow)).all()]
        assert [one.role for one in read_status(session, hub.trust, later).staged] == ["root", "targets", "code"]
    assert "trust_staged" in kinds
    last = now + timedelta(days=300)
    renew_due(hub.database, hub.trust, last)
    renew_due(hub.database, hub.trust, last)
    with hub.database.session() as session:
        told = [one.subject for one in session.exec(select(EventRow).where(EventRow.kind == "trust_expiring")).all()]
    assert sorted(subject.split("/")[1] for subject in told) == ["code", "root", "targets"]


@pytest.mark.parametrize("harm", ["lost", "damaged", "behind a URL of no kind that is known"])
def test_an_online_key_that_cannot_sign_keeps_no_other_role_from_renewal_and_is_told_once(
    hub: "TrustedHub", harm: str
) -> None:
    hub.publish("digits", 1, MANIFEST)
    (key_id,) = key_ids(hub, "models/digits")
    hub.trust = HubTrust(hub.folder / "trust", Lives(), ArtifactStore(str(hub.folder / "artifacts")))
    path = hub.folder / "trust" / "online" / f"{key_id}.key"
    if harm == "damaged":
        path.write_bytes(b"nothing")
    else:
        path.unlink()
    if harm == "behind a URL of no kind that is known":
        write_private(path.with_suffix(".signer"), b'{"url": "gcpkms:projects/none", "public": {}}')
    late = utc_now() + timedelta(days=20)
    assert renew_due(hub.database, hub.trust, late)
    renew_due(hub.database, hub.trust, late)
    with hub.database.session() as session:
        told = session.exec(select(EventRow.message).where(EventRow.kind == "trust_unsigned")).all()
        warnings = read_status(session, hub.trust, late).warnings
    assert len(told) == 1
    what = {
        "lost": "none of its keys is at this hub",
        "damaged": "reading",
        "behind a URL of no kind that is known": "gcpkms",
    }[harm]
    assert what in told[0]
    assert any("shoal trust rotate models/digits" in warning for warning in warnings) == (harm == "lost")
    with pytest.raises(TrustError):
        hub.publish("digits", 2, b"more")
    assert rotate(hub, "models/digits")
    hub.publish("digits", 2, b"more")
    assert hub.device().lists(hub.files(), PATH) is not None


def _take_offline(hub: "TrustedHub", folder: Path) -> None:
    make_ceremony(folder, TYPED, SMALL)
    root, targets = read_ceremony(folder)
    rotate(hub, "offline", root=root, targets=targets)
    _sign_with(hub, folder / "keys")


def _sign_with(hub: "TrustedHub", folder: Path) -> None:
    with hub.database.session() as session:
        request = Staging(hub.trust.reading(session)).request()
    signed, _ = sign_request(request, open_signers(folder, TYPED))
    assert _submit(hub, signed)
    with hub.database.transaction() as session:
        hub.trust.sweep(session)


def _submit(hub: "TrustedHub", signed: SigningRequest) -> bool:
    with hub.database.transaction() as session:
        return Staging(hub.trust.writing(session)).take(signed)


def _state(director: Director, device_id: str, generation: int) -> bytes:
    state = DesiredState(device_id=device_id, epoch=1, generation=generation, issued_at=NOON, expires_at=NOON + LIFE)
    return director.sign(state.to_bytes(), DESIRED_STATE_TYPE)


def _rows(hub: "TrustedHub") -> list[dict[str, object]]:
    with hub.database.session() as session:
        return [row.model_dump() for row in session.exec(select(TrustMetadata)).all()]


def _restore(hub: "TrustedHub", backup: list[dict[str, object]]) -> None:
    with hub.database.transaction() as session:
        session.exec(delete(TrustMetadata))
        for row in backup:
            session.add(TrustMetadata(**row))
