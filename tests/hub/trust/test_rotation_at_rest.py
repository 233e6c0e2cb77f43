"""The hub's own CA and the passphrase are replaced while it is stopped, and no crash on the way loses a key."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from sqlmodel import select
from tests.simulators.hub_process import HubProcess

from shoal_hub.addresses import Addresses
from shoal_hub.audit.key import AuditKey
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.broker.process import write_files
from shoal_hub.cli import main
from shoal_hub.database import Database
from shoal_hub.settings import Settings
from shoal_hub.supervise.claim import SupervisorError, claimed
from shoal_hub.supervise.prepare import broker_config, prepare_data
from shoal_hub.supervise.rotate import rotate_hub_ca, rotate_passphrase
from shoal_hub.trust import files
from shoal_hub.trust.ca import DeviceAuthority, HubAuthority
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.passphrase import following_path, read_passphrase
from shoal_hub.trust.version_keys import VersionKeys

ADDRESSES = Addresses(
    api_url="https://hub.test:8443",
    api_port=8443,
    broker_host="hub.test",
    broker_port=8883,
    hub_listener_host="127.0.0.1",
    hub_listener_port=1883,
)


class CrashError(Exception):
    """The process ends here."""


@pytest.fixture
def passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "elsewhere" / "passphrase"
    monkeypatch.setenv("SHOAL_PASSPHRASE_FILE", str(path))
    return path


@pytest.fixture
def settings(tmp_path: Path, passphrase: Path) -> Settings:  # noqa: ARG001 - it lies apart in each test
    """Of a stopped hub that has run."""
    settings = Settings(data_dir=tmp_path / "data", public_host="hub.test")
    prepare_data(settings)
    VersionKeys.open(settings.data / "trust")
    return settings


def encrypted(settings: Settings) -> dict[Path, bytes]:
    found = {path: path.read_bytes() for path in (settings.data / "trust").rglob("*.key")}
    return {path: data for path, data in found.items() if b"ENCRYPTED" in data}


def secrets_of(settings: Settings, *passphrases: bytes) -> dict[Path, bytes]:
    """Return each key as it is without encryption."""
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {path: _open(data, passphrases).private_bytes(*form) for path, data in encrypted(settings).items()}


def _open(data: bytes, passphrases: tuple[bytes, ...]) -> files.PrivateKey:
    for passphrase in passphrases:
        try:
            key = serialization.load_pem_private_key(data, passphrase)
        except ValueError:
            continue
        assert isinstance(key, files.PrivateKey)
        return key
    raise AssertionError("none of the passphrases opens the key")


def entries(settings: Settings) -> list[tuple[str, str]]:
    database = Database(settings.database)
    with database.session() as session:
        found = [(one.actor_name, one.action) for one in session.exec(select(AuditEntry)).all()]
    database.close()
    return found


def test_a_new_passphrase_opens_every_key_and_the_former_one_none(settings: Settings, passphrase: Path) -> None:
    former = read_passphrase(passphrase)
    before = secrets_of(settings, former)
    path, count = rotate_passphrase(settings)
    assert (path, count) == (passphrase, len(before))
    assert {file.parent.name for file in before} == {"trust", "online", "offline"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not following_path(path).exists()
    new = read_passphrase(path)
    assert secrets_of(settings, new) == before
    for data in encrypted(settings).values():
        with pytest.raises(AssertionError, match="none of the passphrases"):
            _open(data, (former,))
    assert entries(settings)[-1] == ("command line", "trust.rotate_passphrase")


def crash_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the process end right before the next file is written, after so many; return what lets it work again."""
    left, write = steps, files.write_private

    def write_or_crash(path: Path, data: bytes) -> None:
        nonlocal left
        if left == 0:
            path.with_name(f"{path.name}.part").write_bytes(data[:7])
            raise CrashError
        left -= 1
        write(path, data)

    monkeypatch.setattr(files, "write_private", write_or_crash)
    return lambda: monkeypatch.setattr(files, "write_private", write)


def test_a_crash_at_any_file_loses_no_key_and_the_next_run_finishes(
    settings: Settings, passphrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = settings.data / "trust"
    number = len(encrypted(settings)) + 1  # the passphrase is the first
    for steps in range(number):
        former = read_passphrase(passphrase)
        before = secrets_of(settings, former)
        mend = crash_after(steps, monkeypatch)
        with pytest.raises(CrashError):
            rotate_passphrase(settings)
        mend()
        assert read_passphrase(passphrase) == former
        after_crash = (former,) if steps == 0 else (former, read_passphrase(following_path(passphrase)))
        assert secrets_of(settings, *after_crash) == before
        prepare_data(settings)  # a start of the hub reads the keys
        VersionKeys.open(trust)
        AuditKey.rotate(trust)  # and one that is made meanwhile is not lost
        opened = secrets_of(settings, *after_crash)
        rotate_passphrase(settings)
        assert secrets_of(settings, read_passphrase(passphrase)) == opened


def test_a_crash_before_the_new_passphrase_takes_its_place_is_finished_by_the_next_run(
    settings: Settings, passphrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = secrets_of(settings, read_passphrase(passphrase))
    replace = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if target == passphrase:
            raise CrashError
        return replace(self, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "replace", crash)
        with pytest.raises(CrashError):
            rotate_passphrase(settings)
    prepare_data(settings)
    rotate_passphrase(settings)
    assert secrets_of(settings, read_passphrase(passphrase)) == before


def test_a_wrong_or_an_unwritable_passphrase_changes_nothing_but_says_what_to_do(
    settings: Settings, passphrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = encrypted(settings)
    files.write_private(passphrase.with_name("wrong"), b"a guess that is long enough")
    monkeypatch.setenv("SHOAL_PASSPHRASE_FILE", str(passphrase.with_name("wrong")))
    for rotate in (rotate_passphrase, rotate_hub_ca):
        with pytest.raises(TrustError, match=r"\.key"):
            rotate(settings)
    monkeypatch.setenv("SHOAL_PASSPHRASE_FILE", str(passphrase))

    def refuse(path: Path, _data: bytes) -> None:
        raise PermissionError(30, "Read-only file system", str(path))

    with monkeypatch.context() as context:
        context.setattr(files, "write_private", refuse)
        with pytest.raises(TrustError, match="Read-only file system") as refused:
            rotate_passphrase(settings)
    assert "SHOAL_PASSPHRASE_FILE" in refused.value.remedy
    assert encrypted(settings) == before


def test_both_are_refused_while_the_hub_runs(settings: Settings) -> None:
    before = encrypted(settings)
    with claimed(settings.data, "starting the hub"):
        for rotate in (rotate_passphrase, rotate_hub_ca):
            with pytest.raises(SupervisorError, match=r"a hub \(pid \d+\) runs on") as refused:
                rotate(settings)
            assert "stop" in refused.value.remedy
    assert encrypted(settings) == before


def pairs(settings: Settings) -> dict[str, bytes]:
    """Return the key of the hub's CA and those that a running hub uses under it, made at need."""
    trust = settings.data / "trust"
    hub = HubAuthority.open(trust)
    config = broker_config(settings, ADDRESSES)
    paths = [config.hub.identity.key, config.devices.identity.key, hub.connection("hub-api").key]
    return {path.name: path.read_bytes() for path in [*paths, trust / "hub-ca.key"]}


def test_a_new_hub_ca_has_every_key_below_it_made_anew_and_a_running_broker_replaced(settings: Settings) -> None:
    trust = settings.data / "trust"
    (settings.data / "broker").mkdir()
    before, devices = pairs(settings), DeviceAuthority.open(trust).fingerprint
    fingerprint, digest = HubAuthority.open(trust).fingerprint, write_files(broker_config(settings, ADDRESSES))
    new = rotate_hub_ca(settings)
    assert new == HubAuthority.open(trust).fingerprint != fingerprint
    after = pairs(settings)
    assert set(after) == {"hub-listener.key", "server.key", "hub-api.key", "hub-ca.key"}
    assert [name for name in before if before[name] == after[name]] == []
    assert write_files(broker_config(settings, ADDRESSES)) != digest, "by it a broker that runs on is replaced"
    assert DeviceAuthority.open(trust).fingerprint == devices, "devices notice nothing"
    assert entries(settings)[-1] == ("command line", "trust.rotate_hub_ca")


def test_a_hub_ca_that_was_half_replaced_is_made_by_the_next_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, number = pairs(settings), 0
    unlink = Path.unlink

    def crash(self: Path, *, missing_ok: bool = False) -> None:
        nonlocal number
        number += 1
        if number > 4:
            raise CrashError
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as context:
        context.setattr(Path, "unlink", crash)
        with pytest.raises(CrashError):
            rotate_hub_ca(settings)
    after = pairs(settings)
    assert [name for name in before if before[name] == after[name]] == []


def test_where_no_hub_has_run_there_is_no_ca_to_replace(tmp_path: Path, passphrase: Path) -> None:
    with pytest.raises(TrustError, match="there is none"):
        rotate_hub_ca(Settings(data_dir=tmp_path / "empty"))
    assert not passphrase.exists()


@pytest.mark.slow
def test_a_hub_whose_broker_ran_on_works_with_the_new_ca_and_the_new_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = HubProcess(tmp_path, SHOAL_PASSPHRASE_FILE=str(tmp_path / "passphrase"))
    try:
        hub.start()
        broker = hub.pid_of("broker")
        hub.kill("all")
        for name, value in hub.environment.items():
            monkeypatch.setenv(name, value)
        for command in ("rotate-hub-ca", "rotate-passphrase"):
            monkeypatch.setattr("sys.argv", ["shoal", "hub", command])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
        hub.start()
        assert hub.pid_of("broker") != broker
        assert "adopted" not in hub.log()
        with hub.client() as client:
            actions = [one.action for one in client.audit.list()]
            assert {"trust.rotate_hub_ca", "trust.rotate_passphrase"} <= set(actions)
            assert client.devices.list() == []
    finally:
        hub.close()
