"""An encrypted version in a real fleet: one device serves it; broker, other devices and disks learn nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import select
from tests.flows.conftest import MODEL, Fleet
from tests.flows.spy import has_part, spying
from tests.simulators.agent_process import AgentProcess

from shoal_agent.encryption_key import EncryptionKey, OtherRecipientError, load_or_make_encryption_key
from shoal_agent.errors import ArtifactError
from shoal_agent.slots import SlotFile
from shoal_contract.encryption import WrappedKey, key_sha256
from shoal_hub.database import Database
from shoal_hub.devices.tables import Device
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import VariantRow, Version


def plain_file_of(fleet: Fleet, number: int) -> bytes:
    """Read a version's file from the hub, which has both."""
    database = Database(f"sqlite:///{fleet.hub.data / 'hub.sqlite'}")
    wanted = select(VariantRow).join(Version).where(Version.model == MODEL, Version.number == number)
    with database.session() as session:
        row = session.exec(wanted).one()
    database.close()
    assert row.encrypted_sha256 is not None
    return ArtifactStore(str(fleet.hub.data / "artifacts")).read(row.sha256)


def is_on_disk(agent: AgentProcess, secret: bytes) -> bool:
    return any(has_part(path.read_bytes(), secret) for path in agent.data.rglob("*") if path.is_file())


def own_key(agent: AgentProcess) -> EncryptionKey:
    return load_or_make_encryption_key(agent.data / "identity", agent.device_id)


def stored_key(agent: AgentProcess) -> WrappedKey:
    active = SlotFile(agent.data / "models", MODEL).slots.active
    assert active is not None
    assert active.key is not None
    return active.key


def known_key(fleet: Fleet, agent: AgentProcess) -> str | None:
    database = Database(f"sqlite:///{fleet.hub.data / 'hub.sqlite'}")
    with database.session() as session:
        found = session.get_one(Device, agent.device_id).encryption_key
    database.close()
    return found


def encrypted_version(fleet: Fleet, folder: Path, seed: int) -> int:
    number = fleet.add_version(folder, seed)
    assert fleet.client.models.encrypt(MODEL, number).is_encrypted
    return number


def test_an_encrypted_version_serves_on_the_device_that_is_entitled_and_is_secret_everywhere_else(
    fleet: Fleet, tmp_path: Path
) -> None:
    kitchen, garden = fleet.agents
    number = encrypted_version(fleet, tmp_path / "bundle", 0)
    assert garden.stop() == 0
    with spying(garden) as spy:
        fleet.watch(fleet.client.rollouts.start(MODEL, number, devices=[kitchen.device_id]).id, "succeeded")
    assert kitchen.serves(MODEL) == number
    assert fleet.predict(0, np.eye(4, dtype=np.float32)).shape == (4, 3)

    plain = plain_file_of(fleet, number)
    ciphertext = kitchen.data / "blobs" / SlotFile(kitchen.data / "models", MODEL).slots.active.file_sha256  # type: ignore[union-attr]
    assert spy.parts_of(ciphertext.read_bytes()) > 0, "the spy sees what is retained"
    assert spy.parts_of(plain) == 0
    assert not is_on_disk(kitchen, plain)

    version_key = own_key(kitchen).open(stored_key(kitchen), MODEL, number)
    assert not is_on_disk(kitchen, version_key)
    stolen = stored_key(kitchen)
    with pytest.raises(OtherRecipientError):
        own_key(garden).open(stolen, MODEL, number)
    claimed = stolen.model_copy(update={"recipient": key_sha256(own_key(garden).private.public_key())})
    with pytest.raises(ArtifactError):
        own_key(garden).open(claimed, MODEL, number)


@pytest.mark.slow
def test_a_device_whose_encryption_key_was_replaced_serves_on_and_takes_the_next_version(
    fleet: Fleet, tmp_path: Path
) -> None:
    kitchen, _ = fleet.agents
    number = encrypted_version(fleet, tmp_path / "one", 0)
    fleet.watch(fleet.client.rollouts.start(MODEL, number, devices=[kitchen.device_id]).id, "succeeded")
    before = own_key(kitchen).public_hex
    assert known_key(fleet, kitchen) == before
    command = [sys.executable, "-m", "shoal_agent", "identity", "rotate-encryption-key", "--data", str(kitchen.data)]

    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, own_key(kitchen).public_hex) == (1, before)
    assert "stop it first" in refused.stderr

    kitchen.stop()
    subprocess.run(command, capture_output=True, text=True, check=True)
    after = own_key(kitchen).public_hex
    assert after != before
    kitchen.start()
    assert kitchen.serves(MODEL) == number

    second = encrypted_version(fleet, tmp_path / "two", 1)
    fleet.watch(fleet.client.rollouts.start(MODEL, second, devices=[kitchen.device_id]).id, "succeeded")
    assert (kitchen.serves(MODEL), known_key(fleet, kitchen)) == (second, after)
    assert own_key(kitchen).open(stored_key(kitchen), MODEL, second)


@pytest.mark.slow
def test_a_hub_that_has_an_old_encryption_key_is_told_and_wraps_again(fleet: Fleet, tmp_path: Path) -> None:
    kitchen, _ = fleet.agents
    kitchen.stop()
    (kitchen.data / "identity" / "encryption.pem").unlink()
    after = own_key(kitchen).public_hex  # a key that nobody has told the hub of
    kitchen.start()
    assert known_key(fleet, kitchen) != after
    number = encrypted_version(fleet, tmp_path / "bundle", 0)
    fleet.watch(fleet.client.rollouts.start(MODEL, number, devices=[kitchen.device_id]).id, "succeeded")
    assert (kitchen.serves(MODEL), known_key(fleet, kitchen)) == (number, after)
