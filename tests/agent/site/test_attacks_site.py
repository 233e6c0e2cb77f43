"""Attacks on a site's cache and by one, over real TLS: each fails, and a neighbour has its artifact from the broker."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import to_thread
from anyio.streams.tls import TLSStream
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.false_cache import (
    OK,
    Answer,
    FalseCache,
    drips,
    hangs_up,
    never_begins,
    never_ends,
    says,
    speaks_no_http,
)
from tests.agent.simulators.retained import CHUNK
from tests.simulators.lan import QUICK, Lan, Neighbour, enrolled, running_lan

from shoal_agent.identity import PAIR, Identity
from shoal_agent.site.exchange import Part
from shoal_agent.site.peers import device_of
from shoal_contract.ids import new_device_id
from shoal_contract.limits import CHUNK_SIZES_BYTES
from shoal_contract.transfer import describe
from shoal_hub.trust.ca import DeviceAuthority

pytestmark = pytest.mark.anyio
DATA = np.random.default_rng(8).bytes(100_000)
SHA256 = ref_of(DATA).sha256
MANIFEST = describe(DATA, CHUNK)
GOOD = f"/artifact/{SHA256}/{CHUNK}/0"


@pytest.fixture
async def lan(tmp_path: Path) -> AsyncIterator[Lan]:
    async with running_lan(tmp_path) as running:
        yield running


async def ask(
    cache: Neighbour,
    pair: Path | None,
    request: str = f"GET {GOOD} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """Return all that the cache says to whoever shows a certificate, or none."""

    def talk() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, most
        if pair is not None:
            context.load_cert_chain(pair)
        heard = b""
        with socket.create_connection(("127.0.0.1", cache.port), timeout=10) as raw, context.wrap_socket(raw) as tls:
            tls.sendall(request.encode())
            while part := tls.recv(65536):
                heard += part
        return heard

    return await to_thread.run_sync(talk)


def pair_of(identity: Identity) -> Path:
    return identity.folder / PAIR


async def refusal(cache: Neighbour, pair: Path | None, **options: Any) -> None:
    """See that a handshake comes to nothing: in TLS 1.3 a client reads of it only when it waits for an answer."""
    try:
        heard = await ask(cache, pair, **options)
    except OSError:
        heard = b""
    assert heard == b""


async def test_a_member_that_asks_for_what_is_there_gets_it(lan: Lan) -> None:
    """The control: what the attackers below do not get."""
    member = lan.identity("member")
    cache = await lan.cache_for(member.device_id)
    await cache.fetch(DATA)
    assert (await ask(cache, pair_of(member))).endswith(b"\r\n\r\n" + DATA[:CHUNK])


async def test_a_device_of_the_same_hub_that_is_no_member_gets_nothing(lan: Lan) -> None:
    cache = await lan.cache_for(new_device_id())
    await cache.fetch(DATA)
    answer = await ask(cache, pair_of(lan.identity("stranger")))
    assert answer.startswith(b"HTTP/1.1 403")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_client_without_a_certificate_gets_nothing(lan: Lan) -> None:
    cache = await lan.cache_for(new_device_id())
    await cache.fetch(DATA)
    await refusal(cache, None)


async def test_a_members_name_in_a_certificate_of_another_authority_gets_nothing(lan: Lan, tmp_path: Path) -> None:
    member = lan.identity("member")
    cache = await lan.cache_for(member.device_id)
    await cache.fetch(DATA)
    other = DeviceAuthority.open(tmp_path / "other")
    await refusal(cache, pair_of(enrolled(other, tmp_path / "forged", member.device_id)))


async def test_an_older_version_of_tls_gets_nothing(lan: Lan) -> None:
    member = lan.identity("member")
    cache = await lan.cache_for(member.device_id)
    await refusal(cache, pair_of(member), most=ssl.TLSVersion.TLSv1_2)


async def test_a_member_that_is_taken_out_gets_nothing_more_on_the_connection_that_it_has(lan: Lan) -> None:
    one, other = lan.device("one"), lan.device("other")
    cache = await lan.cache_for(one, other)
    await cache.fetch(DATA)
    async with one.site.visit(MANIFEST) as of_one, other.site.visit(MANIFEST) as of_other:
        assert await of_one(0) == await of_other(0) == DATA[:CHUNK]
        cache.site.follow(lan.section(cache.id, 1, (other.id,)), cache.sections)
        assert await of_one(1) is None
        assert await of_other(1) == DATA[CHUNK : 2 * CHUNK]
    assert one.report is not None
    assert one.report.problem is not None
    assert "does not know this device as a member" in one.report.problem.message


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/artifact/../../identity/device.pem",
        f"/artifact/{SHA256}/../../identity/device.pem",
        f"/artifact/..%2f..%2fidentity%2fdevice.pem/{CHUNK}/0",
        f"//artifact/{SHA256}/{CHUNK}/0",
        f"/artifact/{SHA256.upper()}/{CHUNK}/0",
        f"/artifact/{SHA256}.part/{CHUNK}/0",
        f"/artifact/{SHA256}/{CHUNK}/0?x=../..",
        f"/artifact/{SHA256}/{CHUNK}/0/",
        f"/artifact/{SHA256}/{CHUNK}/-1",
        f"/artifact/{SHA256}/{CHUNK}/9999",
        f"/artifact/{SHA256}/{CHUNK}/99999999999999999999",
        f"/artifact/{SHA256}/1/0",
        f"/artifact/{SHA256}/0/0",
        f"/artifact/{SHA256}/manifest",
        f"/artifact/{'0' * 64}/{CHUNK}/0",
        f"http://127.0.0.1{GOOD}",
        "/v2/health/live",
    ],
)
async def test_a_path_to_anything_but_a_chunk_of_what_is_there_gets_nothing(lan: Lan, target: str) -> None:
    member = lan.identity("member")
    cache = await lan.cache_for(member.device_id)
    await cache.fetch(DATA)
    answer = await ask(cache, pair_of(member), f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get"])
async def test_another_method_than_get_gets_nothing(lan: Lan, method: str) -> None:
    member = lan.identity("member")
    cache = await lan.cache_for(member.device_id)
    await cache.fetch(DATA)
    answer = await ask(cache, pair_of(member), f"{method} {GOOD} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404")
    assert DATA[:16] not in answer


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/1.1\r\nHost: " + "x" * 10_000 + "\r\n\r\n",
        f"POST {GOOD} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nsome",
        f"GET {GOOD} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
        "no http at all\r\n\r\n",
        f"GET {GOOD} HTTP/1.1\r\nHost: x\r\n",  # and nothing more
    ],
)
async def test_a_request_that_is_too_long_has_a_body_or_never_ends_only_ends_its_connection(
    lan: Lan, request_text: str
) -> None:
    member = lan.identity("member")
    cache = await lan.cache_for(member.device_id)
    await cache.fetch(DATA)
    started_s = anyio.current_time()
    await refusal(cache, pair_of(member), request=request_text)
    assert anyio.current_time() - started_s < QUICK.idle_s + 1
    assert (await ask(cache, pair_of(member))).endswith(DATA[:CHUNK])


async def test_who_never_shakes_hands_takes_no_members_place_for_long(lan: Lan) -> None:
    member = lan.identity("member")
    cache = await lan.cache_for(member.device_id, settings=replace(QUICK, max_connections=3, handshakes_per_s=1000))
    await cache.fetch(DATA)
    idle = [await anyio.connect_tcp("127.0.0.1", cache.port) for _ in range(3)]
    await refusal(cache, pair_of(member))
    await anyio.sleep(QUICK.handshake_s + 0.2)
    assert (await ask(cache, pair_of(member))).endswith(DATA[:CHUNK])
    for one in idle:
        await one.aclose()


async def test_an_answer_that_takes_too_long_to_send_is_cut_off(lan: Lan) -> None:
    """By its pace here, as the kernel takes a whole chunk off the hands of who would send to a slow reader."""
    member, large = lan.identity("member"), bytes(CHUNK_SIZES_BYTES[-1])
    cache = await lan.cache_for(member.device_id, settings=replace(QUICK, answer_s=0.3, max_bytes_per_s=500_000.0))
    await cache.fetch(large)
    path = Part(ref_of(large).sha256, len(large), 0).path
    answer = await ask(cache, pair_of(member), f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 0 < len(answer) < len(large)
    assert cache.connections == 0


async def place(lan: Lan, member: Neighbour, pair: Path, answer: Answer, cache_id: str) -> FalseCache:
    """Put a false cache where the member expects the true one."""
    false = FalseCache(pair, member.identity.ca_path, answer)
    await member.follow(lan.section(cache_id, await lan.group.start(false.serve)))
    return false


FALSE: dict[str, Answer] = {
    "wrong bytes": says(bytes(CHUNK)),
    "too few bytes": says(DATA[: CHUNK - 1]),
    "too many bytes": says(DATA[: CHUNK + 1]),
    "another chunk": says(DATA[CHUNK : 2 * CHUNK]),
    "nothing": says(b""),
    "a byte at a time": drips,
    "no end": never_ends,
    "no beginning": never_begins,
    "no http": speaks_no_http,
    "half": hangs_up,
}
SLOW = {"a byte at a time", "no beginning"}


@pytest.mark.parametrize("kind", FALSE)
async def test_a_cache_that_lies_or_dawdles_is_given_up_and_told_of_and_the_broker_has_it_all(
    lan: Lan, kind: str
) -> None:
    member, cache = lan.device("member"), lan.identity("cache")
    false = await place(lan, member, pair_of(cache), FALSE[kind], cache.device_id)
    started_s = anyio.current_time()
    assert await member.fetch(DATA) == DATA
    took_s, most_s = anyio.current_time() - started_s, QUICK.chunk_s + 2 if kind in SLOW else QUICK.chunk_s
    assert took_s < most_s, "one chunk's time at most, not one for each; and none where it is plain to see"
    assert (member.over_the_broker, len(false.visitors), member.asked_again) == (len(MANIFEST.chunks), 1, [])
    assert member.report is not None
    assert member.report.state == "failed"
    assert member.report.problem is not None
    assert cache.device_id in member.report.problem.message
    assert "the broker" in member.report.problem.remedy


async def test_a_cache_that_is_always_nearly_too_slow_is_given_up_as_well(lan: Lan) -> None:
    """Each chunk within its time, all of them together at less than the least rate."""
    member, cache = (
        lan.device("member", replace(QUICK, chunk_s=1.0, min_bytes_per_s=1_000_000.0)),
        lan.identity("cache"),
    )

    async def answer(stream: TLSStream) -> None:
        for start in range(0, len(DATA), CHUNK):
            await stream.receive()
            await anyio.sleep(0.4)
            body = DATA[start : start + CHUNK]
            await stream.send(OK % (len(body), body))

    false = await place(lan, member, pair_of(cache), answer, cache.device_id)
    started_s = anyio.current_time()
    assert await member.fetch(DATA) == DATA
    assert anyio.current_time() - started_s < 2 + QUICK.chunk_s
    assert 1 <= len(MANIFEST.chunks) - member.over_the_broker <= 2, "until the time for a few chunks is used up"
    assert len(false.visitors) == 1
    assert member.report is not None
    assert member.report.problem is not None
    assert "too slow" in member.report.problem.message


async def test_who_poses_as_the_cache_learns_nothing_not_even_who_has_asked(lan: Lan, tmp_path: Path) -> None:
    cache_id = new_device_id()
    posers: dict[str, Callable[[], Identity]] = {
        "another device of the hub": lambda: lan.identity("thief"),
        "the cache's name by another authority": lambda: enrolled(
            DeviceAuthority.open(tmp_path / "other"), tmp_path / "forged", cache_id
        ),
    }
    for name, make in posers.items():
        member = lan.device(f"member-{name}")
        false = await place(lan, member, pair_of(make()), says(DATA[:CHUNK]), cache_id)
        assert await member.fetch(DATA) == DATA
        assert (member.over_the_broker, false.visitors, false.refusals) == (len(MANIFEST.chunks), [], 1), name
        assert member.report is not None
        assert member.report.problem is not None
        assert "certificate was refused" in member.report.problem.message, name


async def test_the_hubs_own_servers_certificate_is_no_caches(lan: Lan, tmp_path: Path) -> None:
    server = lan.authority.issue_server(["127.0.0.1"])
    member, pair = lan.device("member"), tmp_path / "pair.pem"
    pair.write_bytes(server.key.read_bytes() + server.certificate.read_bytes())
    false = await place(lan, member, pair, says(DATA[:CHUNK]), new_device_id())
    assert await member.fetch(DATA) == DATA
    assert false.visitors == []
    assert member.report is not None
    assert member.report.problem is not None
    assert "it is no device's" in member.report.problem.message


async def test_a_certificate_that_cannot_be_read_costs_a_member_the_cache_and_not_the_artifact(
    lan: Lan, tmp_path: Path
) -> None:
    """Whoever answers at the cache's address needs no key of the hub for such a one."""
    pem = pair_of(lan.identity("cache")).read_bytes()
    start = pem.index(b"-----BEGIN CERTIFICATE")
    der = ssl.PEM_cert_to_DER_cert(pem[start:].decode())
    version_3, version_6 = bytes.fromhex("a003020102"), bytes.fromhex("a003020105")
    assert der.count(version_3) == 1
    pair = tmp_path / "pair.pem"
    pair.write_bytes(pem[:start] + ssl.DER_cert_to_PEM_cert(der.replace(version_3, version_6)).encode())
    member = lan.device("member")
    false = await place(lan, member, pair, says(DATA[:CHUNK]), new_device_id())
    assert await member.fetch(DATA) == DATA
    assert (member.over_the_broker, false.visitors) == (len(MANIFEST.chunks), [])
    assert member.report is not None
    assert member.report.problem is not None
    assert "certificate was refused" in member.report.problem.message


async def test_a_plain_port_at_the_caches_address_gets_nothing_but_a_greeting(lan: Lan) -> None:
    heard: list[bytes] = []

    async def welcome(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            heard.append(await stream.receive())
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    member = lan.device("member")
    port = listener.extra_attributes[anyio.abc.SocketAttribute.local_port]()
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, welcome)
        await member.follow(lan.section(new_device_id(), port))
        assert await member.fetch(DATA) == DATA
        group.cancel_scope.cancel()
    assert SHA256.encode() not in heard[0]
    assert member.id.encode() not in heard[0]


async def test_a_certificate_that_has_expired_by_trusted_time_counts_no_more(lan: Lan) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    identity = lan.identity("member")
    pem = (identity.folder / PAIR).read_bytes()
    der = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :]).public_bytes(Encoding.DER)
    ca, now = identity.ca_path.read_bytes(), datetime.now(timezone.utc)
    assert device_of(der, ca, now) == identity.device_id
    with pytest.raises(ssl.SSLCertVerificationError, match="it expired"):
        device_of(der, ca, now + timedelta(days=366))
    with pytest.raises(ssl.SSLCertVerificationError, match="no CA of this device's hub"):
        device_of(der, ca, now + timedelta(days=30 * 366))
    with pytest.raises(ssl.SSLCertVerificationError):
        device_of(None, ca, now)
