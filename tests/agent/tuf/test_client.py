"""The device's TUF client, told as attacks on what it reads, and as what the hub does to its keys."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner, Key
from tests.agent.simulators.repository_fetcher import MemoryFetcher
from tests.simulators.tuf_repository import TufRepository
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from shoal_agent.clock import Clock
from shoal_agent.settings import TrustSettings
from shoal_agent.tuf.client import TufClient
from shoal_agent.tuf.clocked_updater import ClockedUpdater
from shoal_agent.tuf.errors import TufError
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import manifest_target

SPKI = PublicFormat.SubjectPublicKeyInfo
NOON = datetime(2027, 3, 1, 12, tzinfo=timezone.utc)
MANIFEST = b'{"a":"manifest"}'
PATH = manifest_target("tiny", 1, sha256_hex(MANIFEST))


class World:
    """A hub, a device and the clock of both."""

    def __init__(self, folder: Path, settings: TrustSettings | None = None) -> None:
        self.time = NOON
        self.folder = folder
        self.settings = settings or TrustSettings()
        self.hub = TufRepository(lambda: self.time)
        self.hub.list_manifest("tiny", 1, MANIFEST)
        self.fetcher = MemoryFetcher(self.hub, self.settings)
        self.restart()

    def restart(self) -> None:
        """Start the device again with what it has on disk."""
        self.clock = Clock(self.folder / "clock.json", lambda: self.time)
        root = self.hub.trust_root
        self.client = TufClient(self.folder / "metadata", "x://hub/", root, self.clock, self.settings)

    def refused(self, code: str, match: str | None = None) -> None:
        """The device refuses what it reads, and trusts what it trusted."""
        before = {path.name: path.read_bytes() for path in (self.folder / "metadata").glob("*.json")}
        with pytest.raises(TufError, match=match) as caught:
            self.client.refresh(self.fetcher)
        assert caught.value.code == code, caught.value
        assert caught.value.remedy
        after = {path.name: path.read_bytes() for path in (self.folder / "metadata").glob("*.json")}
        assert after.get("targets.json") == before.get("targets.json")

    def pass_time(self, **time: float) -> None:
        self.time += timedelta(**time)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_the_hub_says_is_trusted_down_to_the_manifests_of_a_model(world: World) -> None:
    view = world.client.refresh(world.fetcher)
    assert (view.root_version, view.timestamp_version) == (1, world.hub.signed["timestamp"].version)
    assert view.directors.keys() == {"director-1"}
    target = world.client.find(PATH, world.fetcher)
    assert target is not None
    assert (target.hashes["sha256"], target.length) == (sha256_hex(MANIFEST), len(MANIFEST))


def test_a_manifest_that_only_another_models_role_lists_is_listed_by_none(world: World) -> None:
    world.hub.list_manifest("other", 1, b"theirs")
    world.client.refresh(world.fetcher)
    assert world.client.find(manifest_target("tiny", 2, sha256_hex(b"theirs")), world.fetcher) is None


def test_a_role_that_lists_a_target_outside_of_its_paths_is_not_heard(world: World) -> None:
    stray = manifest_target("tiny", 9, sha256_hex(b"stray"))
    world.hub.list_manifest("other", 1, b"theirs")
    other = world.hub.signed["models/other"]
    assert isinstance(other, Targets)
    other.targets[stray] = next(iter(other.targets.values()))
    world.hub.list_manifest("other", 2, b"theirs too")
    world.client.refresh(world.fetcher)
    assert world.client.find(stray, world.fetcher) is None


def test_private_names_of_python_tuf_are_still_what_the_adapter_takes_them_for(world: World) -> None:
    world.client.refresh(world.fetcher)
    updater = world.client._updater
    assert isinstance(updater, ClockedUpdater)
    assert updater._trusted_set.reference_time == NOON
    assert updater._fetcher is world.fetcher
    kinds = (updater.root, updater.timestamp, updater.snapshot, updater.top_targets)
    assert tuple(map(type, kinds)) == (Root, Timestamp, Snapshot, Targets)


def test_a_refresh_that_brings_nothing_new_writes_nothing(world: World) -> None:
    world.client.refresh(world.fetcher)
    kept = list((world.folder / "metadata").rglob("*.json"))
    before = {path: path.lstat().st_mtime_ns for path in kept}
    world.client.refresh(world.fetcher)
    assert {path: path.lstat().st_mtime_ns for path in kept} == before


def test_rollback_of_the_timestamp_is_refused(world: World) -> None:
    old = world.hub.files["timestamp"]
    world.pass_time(hours=1)
    world.hub.publish()
    world.client.refresh(world.fetcher)
    world.fetcher.forged["timestamp"] = old
    world.refused("tuf_rollback", "timestamp version")


def test_rollback_is_refused_though_the_disk_has_lost_the_metadata(world: World) -> None:
    old = world.hub.files["timestamp"]
    world.pass_time(hours=1)
    world.hub.publish()
    world.client.refresh(world.fetcher)
    for path in (world.folder / "metadata").glob("*.json"):
        path.unlink()
    world.restart()
    world.fetcher.forged["timestamp"] = old
    with pytest.raises(TufError, match="older than one verified before") as caught:
        world.client.refresh(world.fetcher)
    assert caught.value.code == "tuf_rollback"


def test_rollback_of_targets_by_a_stolen_snapshot_and_timestamp_key_is_refused(world: World) -> None:
    old = world.hub.signed["targets"].version
    world.pass_time(hours=1)
    world.hub.add_director(2)
    world.client.refresh(world.fetcher)
    snapshot = world.hub.signed["snapshot"]
    assert isinstance(snapshot, Snapshot)
    snapshot.meta["targets.json"] = MetaFile(old)
    snapshot.version += 1
    world.hub.put("snapshot", snapshot)
    world.pass_time(hours=1)
    world.hub.renew_timestamp()
    world.refused("tuf_rollback", "targets.json")


def test_freeze_ends_with_the_timestamps_expiry(world: World) -> None:
    world.client.refresh(world.fetcher)
    world.pass_time(days=8)
    world.refused("tuf_expired", "timestamp")
    with pytest.raises(TufError, match="has expired since"):
        world.client.find(PATH, world.fetcher)


def test_mix_and_match_of_a_snapshot_that_the_timestamp_does_not_name_is_refused(world: World) -> None:
    snapshot = world.hub.signed["snapshot"]
    other = Snapshot.from_dict(snapshot.to_dict())
    other.version -= 1
    forged = Metadata(other)
    forged.sign(world.hub.signers["snapshot"][0])
    world.fetcher.forged[f"{snapshot.version}.snapshot"] = forged.to_bytes()
    world.refused("tuf_rollback", "snapshot version")


def test_mix_and_match_of_targets_from_another_moment_is_refused(world: World) -> None:
    before = world.hub.files[f"{world.hub.signed['targets'].version}.targets"]
    world.pass_time(hours=1)
    world.hub.add_director(2)
    world.fetcher.forged[f"{world.hub.signed['targets'].version}.targets"] = before
    world.refused("tuf_rollback", "targets")


def test_endless_data_is_cut_at_the_roles_bound(world: World) -> None:
    world.fetcher.forged["timestamp"] = b" " * (world.settings.timestamp_bytes + 1)
    world.refused("tuf_endless", "more than the 16384 bytes")


def test_endless_data_over_many_files_is_cut_at_the_refreshs_bound(tmp_path: Path) -> None:
    world = World(tmp_path, TrustSettings(total_bytes=2000))
    world.refused("tuf_endless", "the refresh took more than 2000 bytes")


def test_wrong_length_and_wrong_hash_that_a_snapshot_names_are_refused(world: World) -> None:
    snapshot = world.hub.signed["snapshot"]
    assert isinstance(snapshot, Snapshot)
    version = world.hub.signed["targets"].version
    snapshot.meta["targets.json"] = MetaFile(version, length=10_000, hashes={"sha256": "0" * 64})
    world.hub.put("snapshot", snapshot)
    world.refused("tuf_mismatch")


def _by_one_of_two_root_keys(world: World) -> None:
    world.hub.signers["root"].pop()
    world.hub.rotate_root(["timestamp"], signs_with_old=False)


def _by_a_stranger(world: World) -> None:
    world.hub.signers["timestamp"] = [CryptoSigner.generate_ed25519()]
    world.hub.renew_timestamp()


def _root_by_its_own_new_keys_alone(world: World) -> None:
    world.hub.rotate_root(signs_with_old=False)


@pytest.mark.parametrize("forge", [_by_one_of_two_root_keys, _by_a_stranger, _root_by_its_own_new_keys_alone])
def test_key_compromise_below_the_threshold_changes_nothing(world: World, forge: Callable[[World], None]) -> None:
    world.client.refresh(world.fetcher)
    world.pass_time(hours=1)
    forge(world)
    world.refused("tuf_signature")


def test_a_role_of_a_model_signed_by_another_models_key_is_refused(world: World) -> None:
    world.hub.list_manifest("other", 1, b"theirs")
    world.hub.put("models/tiny", world.hub.signed["models/tiny"], world.hub.signers["models/other"])
    world.client.refresh(world.fetcher)
    with pytest.raises(TufError) as caught:
        world.client.find(PATH, world.fetcher)
    assert caught.value.code == "tuf_signature"


@pytest.mark.parametrize(
    "data",
    [b" ", b"{}", b"[" * 10_000, b'{"signed": 1, "signatures": []}', b"\xff" * 99],
    ids=["blank", "object", "deep", "form", "bytes"],
)
def test_nonsense_is_refused_with_an_error_of_its_own(world: World, data: bytes) -> None:
    world.fetcher.forged["timestamp"] = data
    world.refused("tuf_invalid")


def test_a_device_offline_through_two_root_rotations_follows_them_in_order(world: World) -> None:
    world.client.refresh(world.fetcher)
    for _ in range(2):
        world.pass_time(days=30)
        world.hub.rotate_root()
        world.hub.renew()
    world.restart()

    view = world.client.refresh(world.fetcher)

    assert view.root_version == 3
    assert world.client.find(PATH, world.fetcher) is not None


def test_a_root_that_skips_a_version_is_not_followed(world: World) -> None:
    world.hub.rotate_root([])
    world.hub.rotate_root([])
    world.fetcher.forged["2.root"] = world.hub.files["3.root"]
    world.refused("tuf_rollback", "Expected root version 2")


def test_a_device_back_after_400_days_off_follows_the_hub_again(world: World) -> None:
    world.client.refresh(world.fetcher)
    for _ in range(4):
        world.pass_time(days=100)
        world.hub.rotate_root([])
    world.hub.renew()
    world.restart()
    with pytest.raises(TufError, match="expired"):
        world.client.load()

    assert world.client.refresh(world.fetcher).root_version == 5
    assert world.client.find(PATH, world.fetcher) is not None


def test_a_hub_restored_from_yesterdays_backup_is_ahead_of_every_device(tmp_path: Path) -> None:
    world = World(tmp_path)
    backup = (dict(world.hub.files), dict(world.hub._versions))
    world.pass_time(hours=23)
    world.hub.list_manifest("tiny", 2, b"lost with the disk")
    world.client.refresh(world.fetcher)
    world.pass_time(hours=1)
    world.hub.files, world.hub._versions = backup
    world.hub.list_manifest("tiny", 3, b"after the restore")

    world.client.refresh(world.fetcher)

    assert world.client.find(manifest_target("tiny", 3, sha256_hex(b"after the restore")), world.fetcher) is not None


def test_a_start_without_a_hub_knows_its_directors_from_disk(world: World) -> None:
    world.client.refresh(world.fetcher)
    world.restart()
    view = world.client.load()
    assert view is not None
    assert view.directors.keys() == {"director-1"}


def test_a_device_that_has_nothing_on_disk_yet_loads_nothing(world: World) -> None:
    assert world.client.load() is None


def test_the_directors_are_those_of_the_present_targets(world: World) -> None:
    world.hub.add_director(2)
    assert world.client.refresh(world.fetcher).directors.keys() == {"director-1", "director-2"}
    world.pass_time(hours=1)
    world.hub.remove_director(1)
    assert world.client.refresh(world.fetcher).directors.keys() == {"director-2"}


def _with_director_key(world: World, change: Callable[[Targets], None]) -> None:
    targets = world.hub.signed["targets"]
    assert isinstance(targets, Targets)
    change(targets)
    world.hub.add_director(2)


def _no_hexadecimal(targets: Targets) -> None:
    director_key_of(targets).keyval["public"] = "no key"


def _too_short(targets: Targets) -> None:
    director_key_of(targets).keyval["public"] = "00"


def _of_another_kind(targets: Targets) -> None:
    director_key_of(targets).keyval["public"] = (
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, SPKI).decode()
    )


def _not_among_the_keys(targets: Targets) -> None:
    assert targets.delegations is not None
    del targets.delegations.keys[director_key_of(targets).keyid]


def director_key_of(targets: Targets) -> Key:
    """Return the key of the first director, as targets lists it."""
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    return targets.delegations.keys[targets.delegations.roles["director-1"].keyids[0]]


@pytest.mark.parametrize("change", [_no_hexadecimal, _too_short, _of_another_kind, _not_among_the_keys])
def test_a_director_whose_key_can_not_be_read_is_none_and_the_others_are_heard(
    world: World, change: Callable[[Targets], None]
) -> None:
    _with_director_key(world, change)
    assert world.client.refresh(world.fetcher).directors.keys() == {"director-2"}


def test_a_timestamp_key_that_was_stolen_can_not_freeze_the_device_once_the_root_takes_it_away(world: World) -> None:
    world.client.refresh(world.fetcher)
    far = int((NOON + timedelta(days=300)).timestamp() * 1000)
    world.hub.renew_timestamp(far)
    timestamp = world.hub.signed["timestamp"]
    timestamp.expires = NOON + timedelta(days=301)
    world.hub.put("timestamp", timestamp)
    world.client.refresh(world.fetcher)
    assert world.clock.floor > NOON + timedelta(days=299)
    world.pass_time(hours=1)
    world.hub.renew_timestamp()
    world.refused("tuf_rollback")

    world.hub._versions["timestamp"] = 0
    world.hub.rotate_root(["timestamp", "snapshot"])
    view = world.client.refresh(world.fetcher)

    assert view.root_version == 2
    assert world.clock() == world.time


def test_a_timestamp_beyond_its_roots_expiry_does_not_set_the_clock(world: World) -> None:
    world.hub.renew_timestamp(2**62)
    world.client.refresh(world.fetcher)
    assert world.clock() == NOON


def test_the_clock_in_1970_is_set_by_the_hubs_signature(world: World) -> None:
    hubs_time, world.time = world.time, datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert world.client.refresh(world.fetcher).root_version == 1
    assert abs(world.clock() - hubs_time) < timedelta(seconds=1)
