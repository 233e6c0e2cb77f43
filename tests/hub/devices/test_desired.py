"""Desired states as they are numbered, signed and kept."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlmodel import Session
from tests.simulators.rows import NOON, add_device

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.compositions import Cascade, DesiredComposition, Stage
from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE, verify
from shoal_contract.wire import parse_message
from shoal_hub.database import Database
from shoal_hub.devices.desired import due_devices, mark_due, new_devices, out_of_step, refresh_desired, stale_devices
from shoal_hub.devices.intents import drop_intents_of, set_intent
from shoal_hub.devices.tables import DesiredRow, Device
from shoal_hub.errors import InvalidInputError
from shoal_hub.trust.director import Director
from shoal_hub.trust.version_keys import VersionKeys

LIFE = timedelta(days=30)
NOON_MS = int(NOON.timestamp() * 1000)


@pytest.fixture
def director(tmp_path: Path) -> Director:
    return Director.open(tmp_path / "trust")


@pytest.fixture
def version_keys(tmp_path: Path) -> VersionKeys:
    return VersionKeys.open(tmp_path / "trust")


@pytest.fixture
def device_id(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session).id


def _want(session: Session, device_id: str, version: int, owner: str = "rollout/r-1") -> None:
    body = DesiredModel(
        version=version, target="t", manifest=ArtifactRef(sha256="0" * 64, size_bytes=1), deployment=f"dp-{version}"
    )
    set_intent(session, device_id, "models/digits", kind="rollout", owner=owner, body=body, now=NOON)


def _read(database: Database, director: Director, device_id: str) -> DesiredState:
    keys = {director.key_id: Ed25519PublicKey.from_public_bytes(bytes.fromhex(director.public_key_hex))}
    with database.session() as session:
        envelope = session.get_one(DesiredRow, device_id).envelope
    return parse_message(DesiredState, verify(envelope, DESIRED_STATE_TYPE, keys, 10**6).payload, 10**6)


def test_an_intent_becomes_a_signed_state_and_the_mark_goes(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    with database.transaction() as session:
        _want(session, device_id, 3)
        assert stale_devices(session, 10) == [device_id]
        assert refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        assert stale_devices(session, 10) == []
    state = _read(database, director, device_id)
    assert state.models["digits"].version == 3
    assert (state.device_id, state.epoch, state.generation) == (device_id, 1, NOON_MS)
    assert state.expires_at == NOON + LIFE


def test_compositions_are_signed_with_the_rest_and_gone_where_nobody_wants_them(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    stages = (Stage(model="small", confidence=0.9), Stage(model="large"))
    steps = DesiredComposition(form=Cascade(stages=stages))
    want = partial(set_intent, kind="default", owner="operators", body=steps, now=NOON)
    with database.transaction() as session:
        want(session, device_id, "compositions/steps")
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        with pytest.raises(InvalidInputError, match="they do not fit"):
            want(session, device_id, "models/steps")
    assert _read(database, director, device_id).compositions == {"steps": steps}
    with database.transaction() as session:
        drop_intents_of(session, "operators")
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
    assert _read(database, director, device_id).compositions is None


def test_the_generation_rises_only_when_the_content_differs(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    with database.transaction() as session:
        _want(session, device_id, 1)
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        _want(session, device_id, 1, owner="rollout/r-2")
        assert not refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        _want(session, device_id, 2, owner="rollout/r-3")
        assert refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
    assert _read(database, director, device_id).generation == NOON_MS + 1


def test_a_hub_whose_clock_went_back_still_comes_out_ahead_of_the_device(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    with database.transaction() as session:
        device = session.get_one(Device, device_id)
        device.reported_epoch, device.reported_generation = director.epoch, NOON_MS + 5000
        refresh_desired(session, director, version_keys, device_id, NOON - timedelta(days=1), LIFE)
    assert _read(database, director, device_id).generation == NOON_MS + 5001


def test_a_hub_restored_from_a_backup_gets_ahead_of_devices_that_know_a_later_state(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    with database.transaction() as session:
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        device = session.get_one(Device, device_id)
        device.reported_epoch, device.reported_generation = director.epoch, NOON_MS + 5000
        session.flush()
        assert out_of_step(session) == ({device_id}, [])
        assert refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        assert out_of_step(session) == (set(), [])
    assert _read(database, director, device_id).generation == NOON_MS + 5001


def test_a_state_is_signed_again_past_half_of_its_life_under_the_same_generation(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    late = NOON + LIFE * 0.61
    with database.transaction() as session:
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        assert due_devices(session, NOON + LIFE * 0.4, LIFE) == set()
        assert due_devices(session, late, LIFE) == {device_id}
        assert refresh_desired(session, director, version_keys, device_id, late, LIFE)
    state = _read(database, director, device_id)
    assert (state.generation, state.expires_at) == (NOON_MS, late + LIFE)


def test_a_device_that_is_new_gets_a_state_without_anybody_wanting_something(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    with database.transaction() as session:
        assert new_devices(session) == {device_id}
        assert out_of_step(session) == ({device_id}, [])
        assert refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        assert new_devices(session) == set()
        assert out_of_step(session) == (set(), [])
    assert _read(database, director, device_id).config == DesiredConfig()


def test_an_intent_whose_time_has_come_goes_with_its_section(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    later = NOON + timedelta(hours=1)
    with database.transaction() as session:
        body = DesiredConfig(heartbeat_s=5)
        set_intent(session, device_id, "config", kind="pin", owner="op", body=body, now=NOON, until=later)
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
    assert _read(database, director, device_id).config.heartbeat_s == 5
    with database.transaction() as session:
        mark_due(session, due_devices(session, later, LIFE), later)
        assert refresh_desired(session, director, version_keys, device_id, later, LIFE)
    assert _read(database, director, device_id).config == DesiredConfig()


def test_dropping_an_owners_intents_reaches_each_of_its_devices(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    with database.transaction() as session:
        other = add_device(session).id
        for one in (device_id, other):
            _want(session, one, 1)
            refresh_desired(session, director, version_keys, one, NOON, LIFE)
        drop_intents_of(session, "rollout/r-1")
        assert sorted(stale_devices(session, 10)) == sorted([device_id, other])


def test_an_intent_for_a_section_of_another_kind_is_refused(database: Database, device_id: str) -> None:
    with database.transaction() as session, pytest.raises(InvalidInputError, match="models/"):
        set_intent(session, device_id, "models/x", kind="pin", owner="op", body=DesiredConfig(), now=NOON)


def test_losers_are_kept_with_the_state_even_when_the_content_stays(
    database: Database, director: Director, version_keys: VersionKeys, device_id: str
) -> None:
    with database.transaction() as session:
        _want(session, device_id, 2)
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        body = DesiredModel(version=1, target="t", manifest=ArtifactRef(sha256="0" * 64, size_bytes=1), deployment="d")
        set_intent(session, device_id, "models/digits", kind="default", owner="group/all", body=body, now=NOON)
        assert not refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        assert [one["owner"] for one in session.get_one(DesiredRow, device_id).conflicts] == ["group/all"]
