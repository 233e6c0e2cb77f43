"""The typed client against a real hub over HTTPS."""

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydantic import SecretStr
from tests.hub.registry.bundles import write_bundle
from tests.hub.served import ServedHub, served_hub
from tests.simulators.rows import add_device

from shoal_client import ApiError, ClientError, HubUnreachableError, JobFailedError, Profile, ProfileError, ShoalClient
from shoal_client.profile import profile_path, read_profile, write_profile
from shoal_client.registry import RolloutPolicy
from shoal_client.trust import fetch_ca
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.events.record import record_event
from shoal_hub.jobs.tables import Job

DEVICE = "d-" + "a" * 16


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def client(served: ServedHub) -> Iterator[ShoalClient]:
    with ShoalClient(served.url, served.token, served.ca_path) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def _device(served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        row = Device(
            id=DEVICE, name="kitchen", public_key_sha256="0" * 64, certificate_serial="1", enrolled_at=utc_now()
        )
        session.add(row)


def test_the_client_says_who_it_is_and_that_the_hub_answers(client: ShoalClient) -> None:
    assert client.health().status == "ok"
    assert client.operator().name == "ada"


def test_tokens_are_made_listed_and_revoked(client: ShoalClient) -> None:
    made = client.tokens.create(label="kitchen", uses=2, expires_in_s=60)
    assert made.token.startswith("shoal1.")
    assert made.id in {token.id for token in client.tokens.list()}
    assert client.tokens.revoke(made.id).revoked_at is not None


def test_a_device_is_shown_renamed_and_tagged(client: ShoalClient) -> None:
    assert DEVICE in {device.id for device in client.devices.list()}
    client.devices.update(DEVICE, name="hall", tags={"site": "north"})
    shown = client.devices.show(DEVICE)
    assert (shown.name, shown.tags, shown.desired) == ("hall", {"site": "north"}, None)


def test_versions_are_encrypted_when_registered_afterwards_and_by_the_models_policy(
    client: ShoalClient, tmp_path: Path
) -> None:
    name = {"name": "secrets"}
    assert client.models.register_bundle(write_bundle(tmp_path / "1", **name), is_encrypted=True).is_encrypted
    plain = client.models.register_bundle(write_bundle(tmp_path / "2", **name))
    assert not plain.is_encrypted
    assert client.models.encrypt("secrets", plain.number).is_encrypted
    assert client.models.encrypt_new_versions("secrets", is_on=True).encrypt_versions
    assert client.models.register_bundle(write_bundle(tmp_path / "3", **name)).is_encrypted
    assert not client.models.encrypt_new_versions("secrets", is_on=False).encrypt_versions


def test_a_bundle_is_registered_with_progress_and_its_files_come_back(client: ShoalClient, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    told: list[tuple[int, int]] = []
    version = client.models.register_bundle(
        folder, lambda sent, total: told.append((sent, total)), aliases=["champion"]
    )
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert told[-1] == (total, total)
    assert told == sorted(told)
    assert client.models.version("colours", "champion") == version
    client.models.download(version.files["model.onnx"], tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    moved = client.models.move("colours", version.number, "staging", "looks good")
    assert (moved.version.stage, moved.rollout) == ("staging", None)
    assert [move.comment for move in client.models.history("colours", version.number)] == ["looks good"]
    policy = RolloutPolicy(waves=[1, 2])
    assert client.models.set_policy("colours", policy).rollout_on_production == policy
    assert client.models.set_policy("colours", None).rollout_on_production is None
    assert client.models.set_alias("colours", "other", version.number).aliases == ["champion", "other"]
    assert client.models.describe("colours", "fish").description == "fish"
    assert client.models.list()[0].name == "colours"
    job = client.models.compress("colours", version.number)
    assert client.job(job.id) == job
    assert client.jobs()[0].id == job.id
    assert client.job_log(job.id) == ""


def test_an_artifact_that_is_not_what_its_hash_names_is_not_kept(
    client: ShoalClient, served: ServedHub, tmp_path: Path
) -> None:
    version = client.models.register_bundle(write_bundle(tmp_path / "bundle", name="damaged"))
    sha256 = version.files["test.npz"]
    stored = served.hub.artifacts.local_path(sha256)
    assert stored is not None
    stored.write_bytes(b"something else")
    (tmp_path / "test.npz").write_bytes(b"of before")
    with pytest.raises(ClientError, match="what came has the hash"):
        client.models.download(sha256, tmp_path / "test.npz")
    assert (tmp_path / "test.npz").read_bytes() == b"of before"
    assert not (tmp_path / "test.npz.part").exists()


def test_what_the_hub_refuses_is_told_in_its_words_with_the_remedy(client: ShoalClient) -> None:
    with pytest.raises(ApiError, match="no model fish") as refused:
        client.models.show("fish")
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    assert "shoal models list" in refused.value.remedy
    with pytest.raises(ApiError, match="no rollout"):
        client.rollouts.show("r-nothing")
    with pytest.raises(ApiError, match="no federated run"):
        client.federated.show("f-nothing")


def test_lists_of_what_does_not_exist_yet_are_empty(client: ShoalClient) -> None:
    assert client.rollouts.list() == []
    assert client.federated.list() == []
    assert client.drift.list(model="fish", state="active") == []
    assert client.drift.windows(device=DEVICE) == []


def test_a_folder_that_is_no_bundle_is_refused_before_anything_is_sent(client: ShoalClient, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"name a folder that the training wrote"):
        client.models.register_bundle(tmp_path)
    folder = write_bundle(tmp_path / "bundle")
    (folder / "test.npz").unlink()
    with pytest.raises(ClientError, match=r"test\.npz is missing"):
        client.models.register_bundle(folder)


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_waiting_for_a_job_ends_with_it(client: ShoalClient, served: ServedHub, state: str) -> None:
    job_id = f"j-{state}"
    with served.hub.database.transaction() as session:
        session.add(Job(id=job_id, kind="compress", state="running", created_by="ada", created_at=utc_now()))

    def end(_job: object) -> None:
        with served.hub.database.transaction() as session:
            row = session.get_one(Job, job_id)
            row.state, row.error = state, "it broke"  # type: ignore[assignment]
            session.add(row)

    if state == "succeeded":
        assert client.wait_for_job(job_id, end).state == "succeeded"
    else:
        with pytest.raises(JobFailedError, match=r"it broke; read its log: shoal jobs log j-failed"):
            client.wait_for_job(job_id, end)


def test_followed_events_come_live(client: ShoalClient, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        record_event(session, "test", "before", subject="live")
    followed = client.follow_events(subject="live")
    assert next(followed).message == "before"

    def record() -> None:
        with served.hub.database.transaction() as session:
            record_event(session, "test", "after", subject="live")

    timer = threading.Timer(0.2, record)
    timer.start()
    assert next(followed).message == "after"
    timer.join()
    followed.close()  # type: ignore[attr-defined]  # a generator


def test_a_wrong_token_is_refused(served: ServedHub) -> None:
    with ShoalClient(served.url, "shoal_wrong", served.ca_path) as client, pytest.raises(ApiError, match="shoal login"):
        client.operator()


def test_a_hub_whose_ca_is_not_the_profiles_gets_no_token(served: ServedHub) -> None:
    with ShoalClient(served.url, served.token) as client, pytest.raises(HubUnreachableError, match="not by the CA"):
        client.operator()


def test_a_hub_that_is_not_there_is_unreachable() -> None:
    with (
        ShoalClient("https://localhost:1", "shoal_x") as client,
        pytest.raises(HubUnreachableError, match="shoal hub up"),
    ):
        client.health()


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ProfileError, match=r"ca\.pem"):
        ShoalClient("https://localhost:1", "shoal_x", tmp_path / "ca.pem")


def test_the_ca_is_taken_by_its_fingerprint_only(served: ServedHub) -> None:
    certificate = x509.load_pem_x509_certificate(served.ca_path.read_bytes())
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    assert fetch_ca(served.url, fingerprint) == served.ca_path.read_text()
    with pytest.raises(ProfileError, match="somebody is in between"):
        fetch_ca(served.url, "0" * 64)


def test_a_profile_is_kept_from_others_and_read_back(tmp_path: Path) -> None:
    profile = Profile(url="https://hub", token=SecretStr("shoal_secret"), ca_path=tmp_path / "ca.pem")
    path = write_profile(profile, tmp_path / "deep" / "profile.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_profile(path) == profile
    assert [one.name for one in path.parent.iterdir()] == ["profile.json"]
    assert "shoal_secret" not in repr(profile)
    assert json.loads(path.read_text())["token"] == "shoal_secret"


def test_a_missing_or_broken_profile_says_how_to_log_in(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="shoal login"):
        read_profile(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ProfileError, match="shoal login"):
        read_profile(tmp_path / "broken.json")


def test_the_environment_names_another_profile(tmp_path: Path) -> None:
    assert profile_path({"SHOAL_PROFILE": str(tmp_path / "p")}) == tmp_path / "p"
    assert profile_path({}).parts[-3:] == (".config", "shoal", "profile.json")


def test_a_device_is_revoked_and_decommissioned(client: ShoalClient, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        device = add_device(session, name="attic")
    revoked = client.devices.revoke(device.id, reason="stolen")
    assert (revoked.revoked_by, revoked.revoke_reason, revoked.cut_off_at) == ("ada", "stolen", None)
    assert device.id in {one.id for one in client.devices.list()}
    assert client.devices.decommission(device.id).decommissioned_at is not None
    assert device.id not in {one.id for one in client.devices.list()}
    assert device.id in {one.id for one in client.devices.list(decommissioned=True)}
