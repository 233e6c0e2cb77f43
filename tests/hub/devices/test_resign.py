"""States are signed again in batches, with the content and, under the same key, the generation that they had."""

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
from tests.simulators.rows import NOON, add_device

from shoal_contract.desired import DesiredConfig, DesiredState
from shoal_hub.database import Database
from shoal_hub.devices.desired import due_devices, refresh_desired
from shoal_hub.devices.intents import set_intent
from shoal_hub.devices.resign import sign_states, states_to_sign
from shoal_hub.devices.tables import DesiredRow
from shoal_hub.trust.director import Director
from shoal_hub.trust.version_keys import VersionKeys

LIFE = timedelta(days=30)
LATER = NOON + timedelta(days=19)


@pytest.fixture
def director(tmp_path: Path) -> Director:
    return Director.open(tmp_path / "trust")


@pytest.fixture
def version_keys(tmp_path: Path) -> VersionKeys:
    return VersionKeys.open(tmp_path / "trust")


def test_half_through_its_life_a_state_is_signed_again_under_the_same_generation(
    database: Database, director: Director, version_keys: VersionKeys
) -> None:
    config = DesiredConfig(heartbeat_s=7)
    with database.transaction() as session:
        device_id = add_device(session).id
        set_intent(session, device_id, "config", kind="pin", owner="test", body=config, now=NOON)
        refresh_desired(session, director, version_keys, device_id, NOON, LIFE)
        assert states_to_sign(session, director.epoch, NOON + timedelta(days=14), LIFE) == []
        generation = session.get_one(DesiredRow, device_id).generation
    with database.transaction() as session:
        due = states_to_sign(session, director.epoch, LATER, LIFE)
        assert due == [device_id]
        sign_states(session, director, due, LATER, LIFE)
    with database.session() as session:
        row = session.get_one(DesiredRow, device_id)
        assert states_to_sign(session, director.epoch, LATER, LIFE) == []
        assert due_devices(session, LATER, LIFE) == set()
    state = DesiredState.model_validate_json(base64.b64decode(json.loads(row.envelope)["payload"]))
    assert (state.generation, state.config, state.expires_at) == (generation, config, LATER + LIFE)
    assert (row.generation, row.issued_at) == (generation, LATER)
