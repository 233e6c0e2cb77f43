"""What the device believes, told as attacks: only the director's word, for this device, not older, not expired."""

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.simulators.director import (
    DEVICE,
    KEY,
    KEY_ID,
    KEYS,
    NOW,
    OTHER_KEY,
    sign_state,
    state_of,
    wanted_of,
)
from tests.fixtures.tiny import tiny_manifest

from shoal_agent.desired_file import DesiredFile
from shoal_agent.errors import ArtifactError, DiskError, TrustError
from shoal_agent.trust import (
    ExpiredError,
    ForgedError,
    OlderError,
    OtherDeviceError,
    UnknownDirectorError,
    choose_variant,
    read_manifest,
    verify_desired,
)
from shoal_contract.desired import DesiredState
from shoal_contract.envelope import RENEWAL_TYPE, sign
from shoal_contract.manifest import VersionManifest
from shoal_contract.telemetry import DeploymentEvent, MissingArtifact

GENUINE = sign_state(state_of(5))


def accept(envelope: bytes, current: tuple[int, int] = (0, 0)) -> DesiredState:
    return verify_desired(envelope, keys=KEYS, device_id=DEVICE, current=current, now=NOW)


def test_the_directors_word_is_taken() -> None:
    assert accept(GENUINE) == state_of(5)


def test_a_state_signed_by_another_key_under_the_directors_name_is_refused() -> None:
    with pytest.raises(ForgedError, match="no valid signature"):
        accept(sign_state(state_of(5), OTHER_KEY))


def test_a_state_of_a_director_that_the_device_does_not_know_yet_is_held_and_not_called_forged() -> None:
    with pytest.raises(UnknownDirectorError, match="director-2"):
        accept(sign_state(state_of(5, epoch=2), OTHER_KEY, "director-2"))


def test_a_state_that_no_director_has_signed_is_forged() -> None:
    with pytest.raises(ForgedError, match="by no director"):
        accept(sign_state(state_of(5), OTHER_KEY, "models/tiny"))


def test_what_a_director_of_an_earlier_epoch_signed_is_older_whatever_is_known_of_him() -> None:
    envelope = sign_state(state_of(2**63 - 1))
    with pytest.raises(OlderError, match="epoch 1 found"):
        verify_desired(envelope, keys={"director-2": KEY.public_key()}, device_id=DEVICE, current=(2, 1), now=NOW)


def test_a_higher_epoch_wins_over_generation_two_to_the_sixty_third_of_a_stolen_key() -> None:
    keys = {"director-2": OTHER_KEY.public_key()}
    envelope = sign_state(state_of(1, epoch=2), OTHER_KEY, "director-2")
    state = verify_desired(envelope, keys=keys, device_id=DEVICE, current=(1, 2**63 - 1), now=NOW)
    assert state.order == (2, 1)


def test_a_director_can_not_speak_for_another_epoch() -> None:
    with pytest.raises(ForgedError, match="epoch 2 signed by director-1"):
        accept(sign_state(state_of(5, epoch=2)))


def test_a_payload_changed_after_signing_is_refused() -> None:
    parsed = json.loads(GENUINE)
    payload = base64.b64decode(parsed["payload"]).replace(b'"generation":5', b'"generation":6')
    parsed["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(ForgedError, match="no valid signature"):
        accept(json.dumps(parsed).encode())


def test_a_renewals_signature_does_not_make_a_desired_state() -> None:
    with pytest.raises(ForgedError, match="type"):
        accept(sign(state_of(5).to_bytes(), RENEWAL_TYPE, KEY, KEY_ID))


@given(position=st.integers(0, len(GENUINE) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_is_believed(position: int, bit: int) -> None:
    flipped = bytearray(GENUINE)
    flipped[position] ^= 1 << bit
    try:
        state = accept(bytes(flipped))
    except TrustError:
        return
    assert state == state_of(5)  # the envelope's own blanks and field names beside the signature


@given(data=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_arbitrary_bytes_raise_nothing_but_a_refusal(data: bytes) -> None:
    with pytest.raises(TrustError):
        accept(data)


@given(payload=st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=20))
def test_signed_nonsense_raises_nothing_but_a_refusal(payload: object) -> None:
    with pytest.raises(ForgedError):
        accept(sign(json.dumps(payload).encode(), "application/vnd.shoal.desired-state+json", KEY, KEY_ID))


def test_a_state_for_another_device_is_refused() -> None:
    with pytest.raises(OtherDeviceError, match="d-ponmlkjihgfedcba"):
        accept(sign_state(state_of(5, device_id="d-ponmlkjihgfedcba")))


def test_an_older_generation_is_refused() -> None:
    with pytest.raises(OlderError, match=r"\(1, 6\)"):
        accept(GENUINE, current=(1, 6))


def test_a_newer_epoch_beats_any_generation() -> None:
    with pytest.raises(OlderError):
        accept(sign_state(state_of(999)), current=(2, 1))


def test_the_same_generation_signed_again_is_accepted() -> None:
    again = state_of(5, expires_at=NOW + timedelta(days=60))
    assert accept(sign_state(again), current=(1, 5)) == again


def test_an_expired_state_is_not_acted_upon() -> None:
    with pytest.raises(ExpiredError, match="expired at"):
        accept(sign_state(state_of(5, expires_at=NOW)))


def test_each_refusal_has_a_code_of_its_own_and_a_remedy() -> None:
    kinds = [ForgedError, OtherDeviceError, OlderError, ExpiredError]
    problems = [kind("what was found").to_problem() for kind in kinds]
    assert len({problem.code for problem in problems}) == len(kinds)
    assert all(problem.remedy for problem in problems)


def test_how_long_a_step_may_wait_is_what_the_state_in_force_says_of_its_model(tmp_path: Path) -> None:
    file = DesiredFile(tmp_path / "desired.json", lambda: KEYS, DEVICE)
    step = DeploymentEvent(model="tiny", version=1, deployment="dp-1", step="fetch")
    assert file.progress_s(step) == 0.0
    manifest = {"sha256": "0" * 64, "size_bytes": 1}
    asks = {
        "version": 1,
        "target": "onnx-int8",
        "manifest": manifest,
        "deployment": "dp-1",
        "policy": {"progress_s": 20},
    }
    file.accept(sign_state(state_of(5, models={"tiny": asks, "other": asks | {"policy": None}})), NOW)
    assert file.progress_s(step) == 20.0
    others = [step.model_copy(update={"model": name}) for name in ("other", "unknown")]
    assert [file.progress_s(one) for one in [*others, MissingArtifact(sha256="0" * 64)]] == [0.0] * 3


def test_a_refused_state_leaves_the_one_in_force_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "desired.json"
    file = DesiredFile(path, lambda: KEYS, DEVICE)
    file.accept(GENUINE, NOW)
    with pytest.raises(OlderError):
        file.accept(sign_state(state_of(4)), NOW)
    with pytest.raises(ForgedError):
        file.accept(sign_state(state_of(6), OTHER_KEY), NOW)

    assert DesiredFile(path, lambda: KEYS, DEVICE).load() == file.state == state_of(5)


def test_a_stored_state_is_in_force_after_its_expiry(tmp_path: Path) -> None:
    path = tmp_path / "desired.json"
    DesiredFile(path, lambda: KEYS, DEVICE).accept(sign_state(state_of(5, expires_at=NOW + timedelta(seconds=1))), NOW)
    later = DesiredFile(path, lambda: KEYS, DEVICE)
    assert later.load() is not None  # nothing new is begun by going on


def test_a_stored_state_that_the_disk_has_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "desired.json"
    DesiredFile(path, lambda: KEYS, DEVICE).accept(GENUINE, NOW)
    kept = json.loads(path.read_bytes())
    envelope = json.loads(kept["envelope"])
    envelope["payload"] = base64.b64encode(state_of(9).to_bytes()).decode()
    path.write_text(json.dumps(kept | {"envelope": json.dumps(envelope)}))
    with pytest.raises(ForgedError):
        DesiredFile(path, lambda: KEYS, DEVICE).load()
    path.write_bytes(b"the disk has damaged this")
    with pytest.raises(DiskError, match="publishes it again|reading the stored"):
        DesiredFile(path, lambda: KEYS, DEVICE).load()


def test_the_state_in_force_that_comes_again_is_not_written_again(tmp_path: Path) -> None:
    """It does at each connection, and a broker that was taken over could send it all day."""
    path = tmp_path / "desired.json"
    file = DesiredFile(path, lambda: KEYS, DEVICE)
    file.accept(GENUINE, NOW)
    file = DesiredFile(path, lambda: KEYS, DEVICE)
    file.load()
    before = path.stat().st_ino
    assert file.accept(GENUINE, NOW) == state_of(5)
    assert path.stat().st_ino == before
    signed_again = sign_state(state_of(5, expires_at=NOW + timedelta(days=60)))
    assert file.accept(signed_again, NOW).expires_at == NOW + timedelta(days=60)
    assert path.stat().st_ino != before, "but one that is signed again is kept"


def test_what_a_director_made_run_stays_in_force_after_he_was_removed_but_he_is_believed_no_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "desired.json"
    DesiredFile(path, lambda: KEYS, DEVICE).accept(GENUINE, NOW)

    file = DesiredFile(path, lambda: {"director-2": OTHER_KEY.public_key()}, DEVICE)

    assert file.load() == state_of(5)
    with pytest.raises(UnknownDirectorError):
        file.accept(sign_state(state_of(6)), NOW)
    assert file.accept(sign_state(state_of(1, epoch=2), OTHER_KEY, "director-2"), NOW).order == (2, 1)


@pytest.mark.parametrize("other", [tiny_manifest(2), tiny_manifest(3, "huge")])
def test_a_listed_manifest_of_another_model_or_version_is_refused(other: VersionManifest) -> None:
    with pytest.raises(ArtifactError, match="it is of"):
        read_manifest(other.to_bytes(), name="tiny", wanted=wanted_of(tiny_manifest(3), "dp-1"))


def test_a_variant_for_another_target_or_without_its_runtime_is_refused() -> None:
    manifest = tiny_manifest(3)
    onnx = wanted_of(manifest, "dp-1")
    targets = tuple(variant.target for variant in manifest.variants)
    assert choose_variant(manifest, onnx, targets=targets, runtimes=("onnxruntime",)).format == "onnx"
    with pytest.raises(ArtifactError, match="needs onnxruntime; this device has litert"):
        choose_variant(manifest, onnx, targets=targets, runtimes=("litert",))
    with pytest.raises(ArtifactError, match="runs pi4"):
        choose_variant(manifest, onnx, targets=("pi4",), runtimes=("onnxruntime",))
    with pytest.raises(ArtifactError, match="no target 'other'"):
        choose_variant(manifest, wanted_of(manifest, "dp-1", "other"), targets=targets, runtimes=("onnxruntime",))
