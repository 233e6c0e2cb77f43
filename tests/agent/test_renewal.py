"""Renewal: the device always has one whole pair that the broker takes, whatever fails in between."""

import errno
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from tests.agent.simulators.https_hub import Authority, HttpsHub, https_hub
from tests.agent.simulators.power_cut import FragileDisk, PowerCutError

from shoal_agent.clock import Clock
from shoal_agent.enrol import enrol
from shoal_agent.errors import DiskError, RenewalError
from shoal_agent.identity import CertificateFacts, Identity, load_identity, load_key, read_certificate
from shoal_agent.pairs import Pairs
from shoal_agent.renewal import Renewal
from shoal_agent.settings import RenewalSettings

pytestmark = pytest.mark.anyio
QUICK = RenewalSettings(look_s=0.01, retry_min_s=0.01, retry_max_s=0.02)


def now() -> datetime:
    return datetime.now(timezone.utc)


class Broker:
    """Takes or refuses pairs as a broker does, and tells it as the link does."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.refused: set[str] = set()
        self.shown: list[str] = []

    def connect(self) -> str:
        """Connect until something is taken; return its serial."""
        while True:
            serial = read_certificate(self.pairs.choose()).serial
            self.shown.append(serial)
            if serial not in self.refused:
                self.pairs.taken()
                return serial
            self.pairs.ended()

    async def reconnect(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.connect()

    async def wait_connected(self) -> int:
        await anyio.lowlevel.checkpoint()
        return 1


@pytest.fixture
def identity(tmp_path: Path, hub: HttpsHub, authority: Authority) -> Identity:
    return enrol(tmp_path / "identity", hub.url, authority.token)


def renewal_of(identity: Identity, at: datetime | None = None) -> Renewal:
    return Renewal(identity, Pairs(identity.folder), QUICK, Clock(None, lambda: at or now()), lambda: 0.5)


def present(identity: Identity) -> CertificateFacts:
    return read_certificate(identity.folder / "device.pem")


def files(identity: Identity) -> set[str]:
    return {path.name for path in identity.folder.iterdir()}


def test_it_is_time_at_two_thirds_of_the_life_and_a_little_later_for_each_device(identity: Identity) -> None:
    facts = present(identity)
    life = (facts.expires_at - facts.starts_at).total_seconds()
    pairs, settings = Pairs(identity.folder), RenewalSettings()
    earliest = Renewal(identity, pairs, settings, Clock(None, lambda: facts.starts_at), lambda: 0.0)
    latest = Renewal(identity, pairs, settings, Clock(None, lambda: facts.starts_at), lambda: 1.0)
    assert earliest.due_in_s() == pytest.approx(life * 2 / 3)
    assert latest.due_in_s() == pytest.approx(life * (2 / 3 + 0.05))


def test_the_new_pair_is_for_a_new_key_and_the_old_one_stays_until_the_broker_has_taken_it(identity: Identity) -> None:
    before, key = present(identity), load_key(identity.folder / "device.pem")
    renewal_of(identity).renew()
    assert present(identity) == before
    assert {"next.pem", "next.key"} < files(identity)
    broker = Broker(Pairs(identity.folder))
    taken = broker.connect()
    assert taken != before.serial
    assert present(identity).serial == taken
    assert load_key(identity.folder / "device.pem").private_numbers() != key.private_numbers()
    assert files(identity) == {"device.pem", "ca.pem", "hub.json", "encryption.pem"}
    assert (identity.folder / "device.pem").stat().st_mode & 0o777 == 0o600


def test_a_broker_that_refuses_the_new_pair_gets_the_old_one_again(identity: Identity) -> None:
    before = present(identity).serial
    renewal_of(identity).renew()
    broker = Broker(Pairs(identity.folder))
    broker.refused.add(read_certificate(identity.folder / "next.pem").serial)
    assert broker.connect() == before
    assert present(identity).serial == before
    assert "next.pem" not in files(identity)
    assert "next.key" in files(identity), "the next renewal asks with the same key"


def test_a_network_that_fails_only_has_the_pairs_take_turns(identity: Identity) -> None:
    before = present(identity).serial
    renewal_of(identity).renew()
    new = read_certificate(identity.folder / "next.pem").serial
    broker = Broker(Pairs(identity.folder))
    broker.refused |= {before, new}
    for _ in range(4):
        broker.shown.append(read_certificate(broker.pairs.choose()).serial)
        broker.pairs.ended()
    assert broker.shown == [new, before, new, before]
    broker.refused.clear()
    assert broker.connect() == new


def test_a_pair_that_is_staged_after_another_had_failed_is_shown(identity: Identity, hub: HttpsHub) -> None:
    renewal_of(identity).renew()
    pairs = Pairs(identity.folder)
    assert pairs.choose() == pairs.next
    pairs.ended()
    hub.clock_s = 2 * 86_400.0
    pairs.discard_next()
    Renewal(identity, pairs, QUICK, Clock(None), lambda: 0.5).renew()
    assert pairs.choose() == pairs.next


def test_a_lost_connection_is_no_refusal(identity: Identity) -> None:
    broker = Broker(Pairs(identity.folder))
    broker.connect()
    renewal_of(identity).renew()
    broker.pairs.ended()
    assert broker.connect() == present(identity).serial != broker.shown[0]


def test_a_lost_answer_is_asked_for_again_with_the_same_key(identity: Identity, hub: HttpsHub) -> None:
    hub.refusal = (503, b"{}")
    with pytest.raises(RenewalError, match="503"):
        renewal_of(identity).renew()
    key = load_key(identity.folder / "next.key")
    hub.refusal = None
    renewal_of(identity).renew()
    assert load_key(identity.folder / "next.pem").private_numbers() == key.private_numbers()


def test_a_device_with_a_wrong_clock_renews_by_the_hubs_time(identity: Identity, hub: HttpsHub) -> None:
    hub.clock_s = 3 * 365 * 86_400.0
    renewal_of(identity, now()).renew()
    assert "next.pem" in files(identity)
    assert [path for path, _ in hub.requests].count("/api/v1/renew") == 2


def test_a_hub_that_is_never_content_with_the_time_is_asked_twice_and_no_more(
    identity: Identity, hub: HttpsHub
) -> None:
    hub.refusal = (409, b'{"error": {"code": "clock", "message": "another time", "remedy": "sign again"}}')
    with pytest.raises(RenewalError, match="another time"):
        renewal_of(identity).renew()
    assert [path for path, _ in hub.requests].count("/api/v1/renew") == 2


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"certificate_pem": "x", "ca_pem": "y"}'])
def test_an_answer_that_is_no_certificate_changes_nothing(identity: Identity, hub: HttpsHub, answer: bytes) -> None:
    hub.answer = answer
    with pytest.raises(RenewalError, match="reading the hub's answer"):
        renewal_of(identity).renew()
    assert "next.pem" not in files(identity)


def test_a_certificate_for_another_key_is_not_taken(identity: Identity, hub: HttpsHub) -> None:
    foreign = (identity.folder / "device.pem").read_text()
    pem = foreign[foreign.index("-----BEGIN CERTIFICATE") :].replace("\n", "\\n")
    hub.answer = f'{{"certificate_pem": "{pem}", "ca_pem": "y"}}'.encode()
    with pytest.raises(RenewalError, match="another key"):
        renewal_of(identity).renew()
    assert "next.pem" not in files(identity)


def test_a_hub_of_another_ca_learns_nothing(
    tmp_path: Path, identity: Identity, hub: HttpsHub, authority: Authority
) -> None:
    with https_hub(tmp_path, Authority("mallory"), authority.pem) as mallory:
        moved = replace(identity, api_url=mallory.url)
        with pytest.raises(RenewalError, match="CERTIFICATE_VERIFY_FAILED"):
            renewal_of(moved).renew()
    assert mallory.requests == []
    assert len(hub.requests) == 2


async def test_it_renews_by_itself_when_it_is_time_and_tries_again_until_it_works(
    identity: Identity, hub: HttpsHub
) -> None:
    broker, before = Broker(Pairs(identity.folder)), present(identity).serial
    hub.refusal = (503, b"{}")
    late = now() + timedelta(minutes=59)
    clock = Clock(None, lambda: late if present(identity).serial == before else now())
    renewal = Renewal(identity, broker.pairs, QUICK, clock, lambda: 0.5)
    hub.clock_s = 59 * 60.0
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(renewal.run, broker)
            while [path for path, _ in hub.requests].count("/api/v1/renew") < 3:  # noqa: ASYNC110 - a thread counts
                await anyio.sleep(0.01)
            assert present(identity).serial == before
            hub.refusal = None
            while present(identity).serial == before:  # noqa: ASYNC110 - a file changes
                await anyio.sleep(0.01)
            asked = len(hub.requests)
            await anyio.sleep(0.2)
            assert len(hub.requests) == asked, "and then it has time"
            group.cancel_scope.cancel()


async def test_a_next_pair_that_has_ended_before_it_was_used_is_asked_for_again(
    identity: Identity, hub: HttpsHub
) -> None:
    renewal_of(identity).renew()
    stale = read_certificate(identity.folder / "next.pem").serial
    hub.clock_s = 2 * 86_400.0
    broker = Broker(Pairs(identity.folder))
    renewal = Renewal(identity, broker.pairs, QUICK, Clock(None, lambda: now() + timedelta(days=2)), lambda: 0.5)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(renewal.run, broker)
            while not broker.shown:  # noqa: ASYNC110 - the renewal's own loop
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    assert broker.shown[0] != stale


def _disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("taking", ["shoal_agent.identity.replace_file", "shoal_agent.pairs.replace_file"])
async def test_a_full_disk_puts_a_renewal_off_and_ends_nothing(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, taking: str
) -> None:
    before = present(identity)
    broker = Broker(Pairs(identity.folder))
    renewal = Renewal(identity, broker.pairs, QUICK, Clock(None, lambda: before.expires_at), lambda: 0.5)
    with monkeypatch.context() as full:
        full.setattr(taking, _disk_full)
        with pytest.raises(DiskError, match="No space left"):
            renewal.renew()
    renewal.renew()
    assert broker.connect() != before.serial


async def test_a_next_pair_that_can_not_be_dropped_puts_the_renewal_off(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewal_of(identity).renew()
    renewal = renewal_of(identity, now() + timedelta(days=2))
    monkeypatch.setattr("shoal_agent.pairs.sync_folder", _disk_full)
    with anyio.move_on_after(0.1):
        await renewal.run(Broker(Pairs(identity.folder)))
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize("renames", [False, True])
def test_a_power_cut_at_any_step_leaves_a_whole_pair_and_the_renewal_is_continued(
    identity: Identity, renames: bool
) -> None:
    kept = {path.name: path.read_bytes() for path in identity.folder.iterdir()}

    def begin_again() -> None:
        for path in identity.folder.iterdir():
            path.unlink()
        for name, content in kept.items():
            (identity.folder / name).write_bytes(content)

    def run() -> None:
        renewal_of(identity).renew()
        Broker(Pairs(identity.folder)).connect()

    before, counting = present(identity).serial, FragileDisk()
    with counting.mounted():
        run()
    assert present(identity).serial != before
    assert counting.steps >= 7
    for cut_before in range(counting.steps):
        begin_again()
        disk = FragileDisk(cut_before)
        with pytest.raises(PowerCutError), disk.mounted():
            run()
        disk.lose_what_was_not_synced(renames=renames)
        load_identity(identity.folder).tls_context(Clock(None))  # a whole pair, and its key belongs to it
        Broker(Pairs(identity.folder)).connect()
        started_with = present(identity).serial
        renewal_of(identity).renew()
        Broker(Pairs(identity.folder)).connect()
        assert present(identity).serial not in {before, started_with}, cut_before
        assert "next.key" not in files(identity)
