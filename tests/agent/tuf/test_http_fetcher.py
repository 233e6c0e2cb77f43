"""Metadata over HTTPS: bounded whatever the server does, without a secret, and from a hub whose CA is not known yet."""

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.simulators.https_hub import Authority
from tests.simulators.trust_server import Mood, TrustServer, stalling_tls_server, trust_server
from tests.simulators.tuf_repository import TufRepository

from shoal_agent.clock import Clock
from shoal_agent.settings import TrustSettings
from shoal_agent.tuf.client import TufClient
from shoal_agent.tuf.errors import TufError
from shoal_agent.tuf.http_fetcher import HttpFetcher
from shoal_contract.trust import CA_BUNDLE_TARGET, METADATA_PATH, TARGETS_PATH

SETTINGS = TrustSettings()
HASTY = TrustSettings(silence_s=0.5, total_s=1.0)


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def hub(authority: Authority, tmp_path: Path) -> Iterator[TrustServer]:
    with trust_server(TufRepository(), authority.server_context(tmp_path)) as serving:
        yield serving


def trusting(authority: Authority) -> Callable[[], ssl.SSLContext]:
    return lambda: ssl.create_default_context(cadata=authority.pem)


def client_of(hub: TrustServer, folder: Path) -> TufClient:
    root = hub.repository.trust_root
    return TufClient(folder / "metadata", hub.url + METADATA_PATH, root, Clock(None), TrustSettings())


def test_a_hub_whose_certificate_is_known_is_read(hub: TrustServer, authority: Authority, tmp_path: Path) -> None:
    view = client_of(hub, tmp_path).refresh(HttpFetcher(SETTINGS, trusting(authority)))
    assert view.root_version == 1
    assert [path.rsplit("/", 1)[-1] for path, _ in hub.requests][:2] == ["2.root.json", "timestamp.json"]


@pytest.mark.parametrize("mood", ["trickles", "trickles-headers", "silent"])
def test_slow_retrieval_ends_with_the_refreshs_time(
    hub: TrustServer, authority: Authority, tmp_path: Path, mood: Mood
) -> None:
    hub.mood = mood
    started_s = time.monotonic()
    with pytest.raises(TufError) as caught:
        client_of(hub, tmp_path).refresh(HttpFetcher(HASTY, trusting(authority)))
    assert caught.value.code == "tuf_slow", caught.value
    assert time.monotonic() - started_s < 3


def test_slow_retrieval_in_the_handshake_ends_with_the_refreshs_time(authority: Authority, tmp_path: Path) -> None:
    with stalling_tls_server() as url:
        hub = TrustServer(TufRepository(), url=url)
        started_s = time.monotonic()
        with pytest.raises(TufError) as caught:
            client_of(hub, tmp_path).refresh(HttpFetcher(HASTY, trusting(authority)))
        assert caught.value.code == "tuf_slow", caught.value
        assert time.monotonic() - started_s < 3


def test_endless_data_is_cut(hub: TrustServer, authority: Authority, tmp_path: Path) -> None:
    hub.mood = "endless"
    with pytest.raises(TufError) as caught:
        client_of(hub, tmp_path).refresh(HttpFetcher(TrustSettings(), trusting(authority)))
    assert caught.value.code == "tuf_endless"


def test_a_server_with_a_certificate_of_another_ca_is_not_read_unless_that_is_asked_for(
    hub: TrustServer, tmp_path: Path
) -> None:
    with pytest.raises(TufError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        client_of(hub, tmp_path).refresh(HttpFetcher(SETTINGS, trusting(Authority("another"))))
    assert caught.value.code == "tuf_unavailable"
    assert hub.requests == []


def test_a_ca_that_is_not_known_yet_is_learned_over_a_connection_that_carries_no_secret(
    hub: TrustServer, authority: Authority, tmp_path: Path
) -> None:
    hub.repository.set_ca_bundle(authority.pem.encode())
    fetcher = HttpFetcher(SETTINGS, trusting(Authority("the one before")), reads_untrusted=True)
    client = client_of(hub, tmp_path)
    view = client.refresh(fetcher)
    target = client.find(CA_BUNDLE_TARGET, fetcher)
    assert view.ca_bundle is not None
    assert target is not None

    path = client.download(target, tmp_path / "targets", hub.url + TARGETS_PATH, fetcher)

    assert path.read_text() == authority.pem
    headers = {name for _, sent in hub.requests for name in sent}
    assert headers <= {"Host", "User-Agent", "Accept-Encoding"}


def test_a_rogue_server_that_is_read_untrusted_can_not_make_its_ca_believed(tmp_path: Path) -> None:
    genuine, rogue_ca = TufRepository(), Authority("rogue")
    rogue = TufRepository()
    rogue.set_ca_bundle(rogue_ca.pem.encode())
    with trust_server(rogue, rogue_ca.server_context(tmp_path)) as hub:
        root, url = genuine.trust_root, hub.url + METADATA_PATH
        client = TufClient(tmp_path / "metadata", url, root, Clock(None), TrustSettings())
        fetcher = HttpFetcher(SETTINGS, trusting(Authority("known")), reads_untrusted=True)
        with pytest.raises(TufError) as caught:
            client.refresh(fetcher)
    assert caught.value.code == "tuf_signature"


def test_a_target_with_other_bytes_than_listed_is_not_kept(hub: TrustServer, tmp_path: Path) -> None:
    hub.repository.set_ca_bundle(b"genuine")
    (path,) = hub.repository.targets_files
    hub.repository.targets_files[path] = b"another"
    fetcher = HttpFetcher(SETTINGS, trusting(Authority()), reads_untrusted=True)
    client = client_of(hub, tmp_path)
    client.refresh(fetcher)
    target = client.find(CA_BUNDLE_TARGET, fetcher)
    assert target is not None
    with pytest.raises(TufError) as caught:
        client.download(target, tmp_path / "targets", hub.url + TARGETS_PATH, fetcher)
    assert caught.value.code == "tuf_mismatch"
    assert list((tmp_path / "targets").iterdir()) == []


def test_a_hub_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    hub = TrustServer(TufRepository(), url="https://127.0.0.1:1")
    with pytest.raises(TufError, match="Connection refused") as caught:
        client_of(hub, tmp_path).refresh(HttpFetcher(SETTINGS, trusting(Authority())))
    assert caught.value.code == "tuf_unavailable"
