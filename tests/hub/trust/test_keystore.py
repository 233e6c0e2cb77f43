"""Keys at rest: encrypted, private, and of no use without a passphrase that lies elsewhere."""

import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.hub.conftest import open_hub

from shoal_hub.audit.key import AuditKey
from shoal_hub.database import Database
from shoal_hub.settings import Settings
from shoal_hub.supervise.prepare import prepare_data
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.director import Director
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.keystore import Keystore
from shoal_hub.trust.passphrase import passphrase_path, read_passphrase

# What TLS programs read by themselves: Mosquitto can open no encrypted key.
PLAIN = {"server", "hub-listener"}


def test_every_key_of_a_hub_is_encrypted_and_private_but_those_of_its_listeners(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", public_host="hub.test")
    prepare_data(settings)
    AuditKey.open(settings.data / "trust")
    keys = sorted((settings.data / "trust").rglob("*.key"))
    names = {path.stem for path in keys if path.parent.name == "trust"}
    assert names >= {"ca-1", "hub-ca", "director-1", "audit-1", "server"}
    assert len([path for path in keys if path.parent.name in {"online", "offline"}]) == 6
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        is_encrypted = path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert is_encrypted == (path.stem not in PLAIN), path


def test_no_private_key_is_in_the_database(sqlite_database: Database, tmp_path: Path) -> None:
    hub = open_hub(sqlite_database, tmp_path / "data")
    with sqlite_database.transaction() as session:
        hub.trust.writing(session).list_manifest("digits", 1, b"{}")
    with sqlite_database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    content = Path(str(sqlite_database.engine.url.database)).read_bytes()
    assert b"PRIVATE KEY" not in content
    trust = tmp_path / "data" / "trust"
    keystores = [
        Keystore.open(trust),
        Keystore.open(trust).at(trust / "online"),
        Keystore.open(trust).at(trust / "offline"),
    ]
    seeds = [
        store.read_ed25519(name).private_bytes_raw()
        for store in keystores
        for name in store.names()
        if not name.startswith("ca-")
    ]
    assert len(seeds) == 10
    assert not any(seed in content or seed.hex().encode() in content for seed in seeds)


def test_a_copy_of_the_data_folder_gives_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Director.open(tmp_path / "data" / "trust")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("SHOAL_PASSPHRASE_FILE", str(elsewhere))
    with pytest.raises(TrustError, match="without it the keys are lost"):
        Director.open(tmp_path / "copy" / "trust")
    assert not elsewhere.exists(), "a new passphrase would only hide that the old one is missing"
    elsewhere.write_text("a guess that is long enough\n")
    elsewhere.chmod(0o600)
    with pytest.raises(TrustError, match=r"director-1\.key"):
        Director.open(tmp_path / "copy" / "trust")


def test_a_credential_of_systemd_comes_first_then_the_file_then_the_profile_s_neighbour(tmp_path: Path) -> None:
    given = {"SHOAL_PROFILE": str(tmp_path / "config" / "profile.json")}
    assert passphrase_path(given) == tmp_path / "config" / "hub-passphrase"
    given["SHOAL_PASSPHRASE_FILE"] = str(tmp_path / "file")
    assert passphrase_path(given) == tmp_path / "file"
    given["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    assert passphrase_path(given) == tmp_path / "file", "systemd gave other credentials only"
    (tmp_path / "shoal-passphrase").write_text("from systemd, whoever made it\n")
    assert passphrase_path(given) == tmp_path / "shoal-passphrase"


def test_the_first_start_makes_a_passphrase_and_every_later_one_finds_it(tmp_path: Path) -> None:
    environ = {"SHOAL_PROFILE": str(tmp_path / "config" / "profile.json")}
    first = Keystore.open(tmp_path / "trust", environ)
    key = first.read_or_make("one")
    path = tmp_path / "config" / "hub-passphrase"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_passphrase(path)) >= 43
    again = Keystore.open(tmp_path / "trust", environ).read_ed25519("one")
    assert again.private_bytes_raw() == key.private_bytes_raw()


@pytest.mark.parametrize(
    ("content", "mode", "problem"), [("short", 0o600, "at least 12"), ("x" * 20, 0o644, "chmod 600")]
)
def test_a_passphrase_that_protects_nothing_is_refused(tmp_path: Path, content: str, mode: int, problem: str) -> None:
    path = tmp_path / "passphrase"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(TrustError, match=problem):
        read_passphrase(path)


def test_a_key_that_is_not_encrypted_is_refused(tmp_path: Path) -> None:
    keys = Keystore.open(tmp_path)
    plain = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys.path("one").write_bytes(plain)
    keys.path("one").chmod(0o600)
    with pytest.raises(TrustError, match="not encrypted"):
        keys.read_ed25519("one")


def test_a_typed_passphrase_is_stretched_for_each_key_by_itself(tmp_path: Path) -> None:
    keys = Keystore(tmp_path, b"correct horse battery", is_typed=True)
    keys.write("one", Ed25519PrivateKey.generate())
    assert keys.password("one") != keys.password("two")
    with pytest.raises(TrustError):
        Keystore(tmp_path, b"correct horse battery").read_ed25519("one")
    assert Keystore(tmp_path, b"correct horse battery", is_typed=True).read_ed25519("one")


def test_a_key_s_file_is_bound_to_its_kind(tmp_path: Path) -> None:
    DeviceAuthority.open(tmp_path)
    with pytest.raises(TrustError, match="an Ed25519 key was expected"):
        Keystore.open(tmp_path).read_ed25519("ca-1")
