"""The commands of docs/guides/key-rotation.md, run one after the other against a real hub: the whole drill."""

import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import select
from tests.hub.served import ServedHub, served_hub
from tests.simulators.rows import NOON, add_device
from tests.simulators.tuf_client import TufDevice, standing_files
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from shoal_client import Profile
from shoal_client.profile import write_profile
from shoal_contract.desired import MAX_GENERATION
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import manifest_target
from shoal_hub.cli import main
from shoal_hub.devices.desired import refresh_desired
from shoal_hub.devices.resign import sign_states, states_to_sign
from shoal_hub.devices.tables import DesiredRow

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "key-rotation.md"
MANIFEST = b'{"version": 1}'
PATH = manifest_target("digits", 1, sha256_hex(MANIFEST))
LIFE = timedelta(days=30)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedHub]:
    with served_hub(tmp_path / "hub") as hub:
        with hub.hub.database.transaction() as session:
            hub.hub.trust.writing(session).list_manifest("digits", 1, MANIFEST)
        yield hub


@pytest.fixture
def folder(served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run, as an operator with a passphrase in a file."""
    profile = tmp_path / "profile.json"
    write_profile(Profile(url=served.url, token=SecretStr(served.token), ca_path=served.ca_path), profile)
    monkeypatch.setenv("SHOAL_PROFILE", str(profile))
    (tmp_path / "typed").write_text("correct horse battery\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _commands(heading: str) -> list[list[str]]:
    section = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(heading))
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def _run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one command, with what a person would type given as options."""
    words = list(words)
    if words[2] == "init" or "--keys" in words:
        words += ["--passphrase-file", "typed"]
    if "--keys" in words:
        words.append("--yes")
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, words


def test_the_guide_s_commands_take_the_keys_away_and_mend_a_compromise(
    served: ServedHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = served.hub
    with hub.database.session() as session:
        device = TufDevice(folder / "device", hub.trust.root_text(session).encode())
        device.refresh(standing_files(session))
    for words in _commands("Take the offline keys"):
        _run(words, monkeypatch)
    assert hub.trust.offline.key_ids() == []
    # The attacker has every online key, and has sent the highest generation.
    with hub.database.transaction() as session:
        repository = hub.trust.reading(session)
        roles = ("timestamp", "snapshot", "models", "models/digits")
        stolen = {role: next(iter(repository.signers(role))) for role in roles}
        row = add_device(session)
        refresh_desired(session, hub.director, hub.version_keys, row.id, NOON, LIFE)
        row.reported_epoch, row.reported_generation = 1, MAX_GENERATION
    for words in _commands("After a compromise"):
        _run(words, monkeypatch)
    with hub.database.transaction() as session:
        hub.trust.follow(session, hub.director)
        sign_states(session, hub.director, states_to_sign(session, hub.director.epoch, NOON, LIFE), NOON, LIFE)
        files = standing_files(session)
        assert session.exec(select(DesiredRow.epoch)).all() == [2]
        repository = hub.trust.reading(session)
        for role, signer in stolen.items():
            assert signer.public_key.keyid not in repository.delegator(role).get_delegated_role(role).keyids
            assert not hub.trust.online.place(signer.public_key.keyid), "erased"
    forged = Metadata.from_bytes(files["timestamp.json"])
    forged.signed.version = 2**62
    forged.signatures.clear()
    forged.sign(stolen["timestamp"])
    with pytest.raises(RepositoryError, match="timestamp was signed by 0/1 keys"):
        device.refresh(files | {"timestamp.json": forged.to_bytes()})
    assert device.lists(files, PATH) is not None
    for words in [*_commands("Routine rotation"), ["shoal", "trust", "status"]]:
        _run(words, monkeypatch)
    with hub.database.session() as session:
        assert device.lists(standing_files(session), PATH) is not None
        assert hub.trust.reading(session).director_epoch() == 3
