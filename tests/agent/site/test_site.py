"""A site's cache and its neighbours when all is well, and when the cache lacks, goes, changes or may not serve."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.simulators.device import Device, file_of
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.retained import CHUNK
from tests.agent.test_encrypted import publish
from tests.simulators.lan import QUICK, Lan, running_lan, until

from shoal_agent.site.exchange import Part, parse_path
from shoal_agent.site.pace import Pace
from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_contract.limits import CHUNK_SIZES_BYTES
from shoal_contract.transfer import describe

pytestmark = pytest.mark.anyio
DATA = np.random.default_rng(7).bytes(180_000)  # eleven chunks and a bit
CHUNKS = len(describe(DATA, CHUNK).chunks)


@pytest.fixture
async def lan(tmp_path: Path) -> AsyncIterator[Lan]:
    async with running_lan(tmp_path) as running:
        yield running


async def test_a_neighbour_gets_every_chunk_from_the_cache_and_only_their_list_from_the_broker(lan: Lan) -> None:
    member = lan.device("member")
    cache = await lan.cache_for(member)
    await cache.fetch(DATA)
    assert await member.fetch(DATA) == DATA
    assert (cache.over_the_broker, member.over_the_broker) == (CHUNKS, 0)
    assert member.source.delivered[topics.artifact_manifest(ref_of(DATA).sha256)] == 1


async def test_the_broker_may_have_cut_the_artifact_otherwise_for_the_neighbour_than_for_the_cache(lan: Lan) -> None:
    member = lan.device("member")
    cache = await lan.cache_for(member)
    await cache.fetch(DATA)
    manifest = describe(DATA, CHUNK_SIZES_BYTES[1])
    async with member.site.visit(manifest) as ask:
        found = [await ask(index) for index in range(len(manifest.chunks))]
    assert b"".join(one or b"" for one in found) == DATA


async def test_what_the_cache_lacks_comes_from_the_broker_without_a_word_to_anybody(lan: Lan) -> None:
    member = lan.device("member")
    await lan.cache_for(member)
    assert await member.fetch(DATA) == DATA
    assert (member.over_the_broker, member.asked_again) == (CHUNKS, [])
    assert member.report is not None
    assert member.report.state == "applied"


async def test_the_cache_is_asked_for_what_it_lacks_once_and_for_other_things_still(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, other = lan.device("member"), DATA[::-1]
    cache = await lan.cache_for(member)
    await cache.fetch(other)
    asked, has = Counter[str](), cache.blobs.has

    def counting_has(sha256: str) -> bool:
        asked[sha256] += 1
        return has(sha256)

    monkeypatch.setattr(cache.blobs, "has", counting_has)
    for data in (DATA, other):
        await member.fetch(data)
    assert member.over_the_broker == CHUNKS
    assert asked == {ref_of(DATA).sha256: 1, ref_of(other).sha256: CHUNKS}


async def test_an_artifact_that_is_only_partly_there_is_not_served(lan: Lan) -> None:
    member = lan.device("member")
    cache = await lan.cache_for(member)
    partial = cache.blobs.open_partial(describe(DATA, CHUNK))
    partial.write(0, DATA[:CHUNK])
    partial.close()
    await member.fetch(DATA)
    assert member.over_the_broker == CHUNKS


async def test_an_artifact_that_the_caches_disk_has_damaged_is_not_served(lan: Lan) -> None:
    member = lan.device("member")
    cache = await lan.cache_for(member)
    await cache.fetch(DATA)
    cache.blobs.path(ref_of(DATA).sha256).write_bytes(b"x" * len(DATA))
    assert await member.fetch(DATA) == DATA
    assert (member.over_the_broker, cache.blobs.has(ref_of(DATA).sha256)) == (CHUNKS, False)


async def test_of_an_encrypted_version_the_ciphertext_is_served_and_the_plain_file_is_nowhere(
    lan: Lan,
) -> None:
    member = lan.device("member")
    cache = await lan.cache_for(member)
    device = Device(cache.identity.folder.parent)  # on the same store
    await device.converge(publish(device, 1))
    slot = device.updater.file.slots.active
    assert slot is not None
    sealed = cache.blobs.path(slot.file_sha256).read_bytes()

    assert await member.fetch(sealed) == sealed
    assert member.over_the_broker == 0
    async with member.site.visit(describe(file_of(1), CHUNK)) as ask:
        assert await ask(0) is None
    await device.server.aclose()


async def test_a_cache_that_goes_in_the_middle_costs_one_failure_and_the_rest_comes_from_the_broker(lan: Lan) -> None:
    member = lan.device("member")
    cache = await lan.cache_for(member)
    await cache.fetch(DATA)
    manifest = describe(DATA, CHUNK)
    async with member.site.visit(manifest) as ask:
        assert await ask(0) == DATA[:CHUNK]
        cache.site.follow(None, cache.sections)
        await until(lambda: not cache.is_listening)
        assert await ask(1) is None
    started_s = anyio.current_time()
    assert await member.fetch(DATA) == DATA
    assert anyio.current_time() - started_s < QUICK.chunk_s, "a cache that rests costs nothing"
    assert member.report is not None
    assert member.report.state == "failed"
    assert member.report.problem is not None
    assert "cache of site lan" in member.report.problem.message


async def test_a_cache_that_has_rested_is_asked_again_and_the_report_is_mended(lan: Lan) -> None:
    member = lan.device("member", replace(QUICK, rest_s=0.2))
    cache = await lan.cache_for(member)
    await cache.fetch(DATA)
    await member.follow(lan.section(cache.id, 1))  # nobody listens there
    async with member.site.visit(describe(DATA, CHUNK)) as ask:
        assert await ask(0) is None
    await cache.follow(lan.section(cache.id, 1, (member.id,)))
    member.site.follow(lan.section(cache.id, cache.port), member.sections)
    async with member.site.visit(describe(DATA, CHUNK)) as ask:
        assert await ask(0) == DATA[:CHUNK]
    assert member.report is not None
    assert member.report.state == "applied"


async def test_a_device_whose_own_settings_do_not_allow_it_does_not_listen_and_says_so(lan: Lan) -> None:
    cache = lan.device("cache", replace(QUICK, host=""))
    await cache.follow(lan.section(cache.id, 1, ("d-" + "a" * 16,)), "failed")
    assert cache.report is not None
    assert cache.report.problem is not None
    assert "--site-host" in cache.report.problem.remedy
    assert cache.port == 0


async def test_a_device_that_is_no_cache_does_not_listen_though_its_settings_allow_it(lan: Lan) -> None:
    member = lan.device("member")
    cache = await lan.cache_for(member)
    assert (member.port, cache.port > 0) == (0, True)


async def test_an_address_that_is_taken_is_told(lan: Lan) -> None:
    first = await lan.cache_for()
    second = lan.device("second", replace(QUICK, port=first.port))
    await second.follow(lan.section(second.id, first.port), "failed")
    assert second.report is not None
    assert second.report.problem is not None
    assert "cannot be bound" in second.report.problem.message


async def test_a_cache_that_is_one_no_more_closes_its_address(lan: Lan) -> None:
    cache = await lan.cache_for()
    await cache.follow(lan.section(new_device_id(), 1))
    await until(lambda: not cache.is_listening)
    with pytest.raises(OSError, match="connection attempts failed"):
        await anyio.connect_tcp("127.0.0.1", cache.port)


async def test_more_than_the_pace_waits_for_its_turn() -> None:
    pace, started_s = Pace(100), anyio.current_time()
    for _ in range(11):
        await pace.take()
    assert 0.09 < anyio.current_time() - started_s < 0.5


def test_a_path_is_read_back_as_it_was_written() -> None:
    part = Part("0" * 64, CHUNK, 12)
    assert parse_path(part.path.encode()) == part
