"""Over the broker first, over HTTPS where that fails or can not be; a transfer goes on over the other way."""

from collections import Counter
from pathlib import Path

import pytest
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.retained import CHUNK, RetainedTopics

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import FetchError, LinkError
from shoal_agent.fetch import Fetcher
from shoal_agent.fetch_ways import FetchWays
from shoal_agent.settings import FetchSettings
from shoal_contract import topics
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.transfer import TransferManifest, describe

pytestmark = pytest.mark.anyio
DATA = bytes(range(256)) * 700  # eleven chunks
REF = ref_of(DATA)


class Ranges:
    """Implements `RangeSource` in memory; counts the chunks that it gives."""

    def __init__(self, data: bytes, manifest: TransferManifest | None = None) -> None:
        self.data = data
        self.manifest = manifest or describe(data, CHUNK)
        self.read_at: Counter[int] = Counter()
        self.lists = 0
        self.is_down = False

    async def chunk_list(self, _ref: ArtifactRef) -> bytes:
        self._check()
        self.lists += 1
        return self.manifest.to_bytes()

    async def read(self, _sha256: str, start: int, size_bytes: int) -> bytes:
        self._check()
        self.read_at[start] += 1
        return self.data[start : start + size_bytes]

    def _check(self) -> None:
        if self.is_down:
            raise FetchError("the hub does not answer")


class Transfer:
    """A fetcher with both ways, on an empty store."""

    def __init__(self, folder: Path, ranges: Ranges | None = None) -> None:
        self.source, self.ranges = RetainedTopics(), ranges or Ranges(DATA)
        self.asked: list[str] = []
        self.blobs = BlobStore(folder / "blobs")
        settings = FetchSettings(silence_s=0.02)
        self.fetcher = Fetcher(self.source, self.blobs, self._ask, settings, ranges=self.ranges)

    async def _ask(self, sha256: str, _detail: str) -> None:
        self.asked.append(sha256)

    async def tries(self, ref: ArtifactRef = REF) -> list[type[Exception]]:
        """Try as the updater does, until it has come; return how the others ended."""
        ended: list[type[Exception]] = []
        for _ in range(10):
            try:
                assert (await self.fetcher.fetch(ref)).read_bytes() == self.ranges.data
            except (FetchError, LinkError) as error:
                ended.append(type(error))
            else:
                return ended
        raise AssertionError("it never came")


@pytest.fixture
def transfer(tmp_path: Path) -> Transfer:
    return Transfer(tmp_path)


async def test_what_the_broker_has_comes_from_there_alone(transfer: Transfer) -> None:
    transfer.source.publish(DATA)
    assert await transfer.tries() == []
    assert (transfer.ranges.lists, transfer.ranges.read_at) == (0, {})


async def test_what_the_broker_is_silent_about_twice_comes_over_https(transfer: Transfer) -> None:
    assert await transfer.tries() == [FetchError, FetchError]
    assert transfer.asked == [REF.sha256] * 2, "the hub is asked to publish it all the same"
    assert (transfer.ranges.lists, set(transfer.ranges.read_at.values())) == (1, {1})


async def test_a_link_that_is_down_twice_is_no_reason_to_wait_for_it(transfer: Transfer) -> None:
    transfer.source.is_down = True
    assert await transfer.tries() == [LinkError, LinkError]
    assert transfer.asked == []


async def test_a_transfer_goes_on_over_https_where_the_broker_fell_silent(transfer: Transfer) -> None:
    transfer.source.publish(DATA)
    for index in range(5, 11):
        del transfer.source.messages[topics.artifact_chunk(REF.sha256, index)]
    assert await transfer.tries() == [FetchError, FetchError]
    there = {int(topic.rpartition("/")[2]) for topic in transfer.source.delivered if not topic.endswith("manifest")}
    assert there
    over_https = {start // CHUNK for start in transfer.ranges.read_at}
    assert over_https == set(range(11)) - there


async def test_where_both_fail_they_take_turns(transfer: Transfer) -> None:
    transfer.ranges.is_down = True
    for _ in range(3):
        with pytest.raises(FetchError):
            await transfer.fetcher.fetch(REF)
    transfer.source.publish(DATA)
    await transfer.fetcher.fetch(REF)
    assert transfer.ranges.lists == 0


async def test_after_it_has_come_the_next_one_begins_at_the_broker_again(transfer: Transfer) -> None:
    await transfer.tries()
    transfer.blobs.discard(REF.sha256)
    transfer.source.publish(DATA)
    lists = transfer.ranges.lists
    assert await transfer.tries() == []
    assert transfer.ranges.lists == lists


async def test_a_hub_that_gives_other_bytes_is_believed_no_more_than_a_broker(transfer: Transfer) -> None:
    transfer.ranges.data = bytes(len(DATA))
    with pytest.raises(AssertionError, match="never came"):
        await transfer.tries()
    assert not transfer.blobs.has(REF.sha256)


async def test_what_is_too_large_for_chunks_is_not_looked_for_at_the_broker(tmp_path: Path) -> None:
    chunk = 512 * 1024
    data = bytes(MAX_ARTIFACT_BYTES) + b"x"
    whole = ref_of(data)
    parts = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    manifest = TransferManifest(
        sha256=whole.sha256, size_bytes=len(data), chunk_bytes=chunk, chunks=tuple(ref_of(one).sha256 for one in parts)
    )
    transfer = Transfer(tmp_path, Ranges(data, manifest))
    assert await transfer.tries(whole) == []
    assert transfer.source.delivered == {}
    assert transfer.asked == []


def test_few_ranges_wait_for_each_other_in_threads_and_more_chunks_are_under_way_at_the_broker() -> None:
    settings, manifest = FetchSettings(), describe(DATA, CHUNK)
    ways = FetchWays(RetainedTopics(), Ranges(DATA), settings)
    assert ways.window(manifest) == settings.window > 4
    for _ in range(settings.https_after):
        ways.failed(manifest.sha256)
    assert ways.window(manifest) == 4
