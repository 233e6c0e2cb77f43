"""Transfers over retained chunks when topics are silent, wrong or slow: only what is missing is asked for again."""

from collections.abc import Callable
from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.retained import CHUNK, RetainedTopics

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import DiskError, FetchError, LinkError
from shoal_agent.fetch import Fetcher
from shoal_agent.settings import FetchSettings
from shoal_contract import topics
from shoal_contract.transfer import describe

pytestmark = pytest.mark.anyio
DATA = np.random.default_rng(1).bytes(180_000)  # eleven chunks
REF = ref_of(DATA)
CHUNKS = len(describe(DATA, CHUNK).chunks)


class Transfer:
    """A fetcher on an empty store, and what it told the hub."""

    def __init__(self, folder: Path, **settings: float) -> None:
        self.source = RetainedTopics()
        self.source.publish(DATA)
        self.blobs = BlobStore(folder / "blobs")
        self.asked: list[tuple[str, str]] = []
        self.fetcher = Fetcher(self.source, self.blobs, self._ask, FetchSettings(silence_s=0.05, **settings))  # type: ignore[arg-type]

    async def _ask(self, sha256: str, detail: str) -> None:
        self.asked.append((sha256, detail))

    def topic(self, index: int) -> str:
        return topics.artifact_chunk(REF.sha256, index)


@pytest.fixture
def transfer(tmp_path: Path) -> Transfer:
    return Transfer(tmp_path)


async def test_an_artifact_is_fetched_each_chunk_once(transfer: Transfer) -> None:
    path = await transfer.fetcher.fetch(REF)
    assert path.read_bytes() == DATA
    assert set(transfer.source.delivered.values()) == {1}
    assert len(transfer.source.delivered) == CHUNKS + 1
    assert transfer.asked == []


async def test_what_is_stored_is_not_fetched(transfer: Transfer) -> None:
    await transfer.fetcher.fetch(REF)
    transfer.source.delivered.clear()
    await transfer.fetcher.fetch(REF)
    assert transfer.source.delivered.total() == 0


async def test_a_missing_transfer_manifest_asks_the_hub_again(transfer: Transfer) -> None:
    del transfer.source.messages[topics.artifact_manifest(REF.sha256)]
    with pytest.raises(FetchError, match="silent"):
        await transfer.fetcher.fetch(REF)
    assert [sha256 for sha256, _ in transfer.asked] == [REF.sha256]


async def test_a_missing_chunk_asks_again_and_the_resume_re_sends_only_what_is_missing(transfer: Transfer) -> None:
    chunk = transfer.source.messages.pop(transfer.topic(5))
    with pytest.raises(FetchError, match="silent"):
        await transfer.fetcher.fetch(REF)
    assert [sha256 for sha256, _ in transfer.asked] == [REF.sha256]
    there = {topic for topic in transfer.source.delivered if not topic.endswith("manifest")}
    assert 5 <= len(there) < CHUNKS

    transfer.source.messages[transfer.topic(5)] = chunk
    transfer.source.delivered.clear()
    assert (await transfer.fetcher.fetch(REF)).read_bytes() == DATA
    assert not there & set(transfer.source.delivered)
    assert len(transfer.source.delivered) == CHUNKS - len(there) + 1


@pytest.mark.parametrize(
    "spoil",
    [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-1], lambda data: data + b"x", lambda _: b"?"],
    ids=["flipped", "truncated", "oversize", "other"],
)
async def test_a_wrong_chunk_is_tried_again_and_then_told_to_the_hub(
    transfer: Transfer, spoil: Callable[[bytes], bytes]
) -> None:
    genuine = transfer.source.messages[transfer.topic(2)]
    transfer.source.messages[transfer.topic(2)] = spoil(genuine)
    with pytest.raises(FetchError, match="checking chunk 2"):
        await transfer.fetcher.fetch(REF)
    assert transfer.source.delivered[transfer.topic(2)] == FetchSettings().chunk_attempts
    assert "checking chunk 2" in transfer.asked[0][1]

    transfer.source.messages[transfer.topic(2)] = genuine
    assert (await transfer.fetcher.fetch(REF)).read_bytes() == DATA


@pytest.mark.parametrize("lie", [describe(DATA + b"x", CHUNK), describe(b"another artifact", CHUNK)])
async def test_a_transfer_manifest_of_another_size_or_hash_is_refused(transfer: Transfer, lie: object) -> None:
    transfer.source.messages[topics.artifact_manifest(REF.sha256)] = lie.to_bytes()  # type: ignore[attr-defined]
    with pytest.raises(FetchError, match="reading the transfer manifest"):
        await transfer.fetcher.fetch(REF)
    assert len(transfer.asked) == 1


async def test_a_chunk_list_that_lies_only_delays(transfer: Transfer) -> None:
    # Nobody signs the chunk list: with it somebody could make every chunk hold and the whole be something else.
    other = bytes(len(DATA))
    lie = describe(other, CHUNK).model_copy(update={"sha256": REF.sha256})
    genuine = dict(transfer.source.messages)
    transfer.source.publish(other)
    for index in range(CHUNKS):
        transfer.source.messages[transfer.topic(index)] = other[index * CHUNK : (index + 1) * CHUNK]
    transfer.source.messages[topics.artifact_manifest(REF.sha256)] = lie.to_bytes()
    with pytest.raises(FetchError, match="whole file's hash"):
        await transfer.fetcher.fetch(REF)
    assert not transfer.blobs.has(REF.sha256)

    transfer.source.messages.update(genuine)
    assert (await transfer.fetcher.fetch(REF)).read_bytes() == DATA


async def test_the_window_rises_to_its_bound_while_chunks_are_fast(tmp_path: Path) -> None:
    transfer = Transfer(tmp_path, fast_chunk_s=10.0, window=3)
    transfer.source.delay_s = lambda _: 0.01
    await transfer.fetcher.fetch(REF)
    assert transfer.source.most_at_once == 3


async def test_the_window_stays_at_one_while_chunks_are_slow(tmp_path: Path) -> None:
    transfer = Transfer(tmp_path, fast_chunk_s=0.001)
    transfer.source.delay_s = lambda _: 0.005
    await transfer.fetcher.fetch(REF)
    assert transfer.source.most_at_once == 1


async def test_the_window_falls_back_to_one_when_chunks_become_slow(tmp_path: Path) -> None:
    transfer = Transfer(tmp_path, fast_chunk_s=0.05)
    at_once: dict[str, int] = {}

    def delay_s(topic: str) -> float:
        at_once[topic] = transfer.source.reading
        return 0.08 if len(at_once) > 5 else 0.01

    transfer.source.delay_s = delay_s
    await transfer.fetcher.fetch(REF)
    assert max(at_once.values()) > 1
    assert list(at_once.values())[-1] == 1


async def test_a_link_that_is_down_does_not_make_the_hub_publish_again(transfer: Transfer) -> None:
    transfer.source.is_down = True
    with pytest.raises(LinkError):
        await transfer.fetcher.fetch(REF)
    assert transfer.asked == []


async def test_a_link_that_goes_down_in_the_middle_is_no_missing_chunk(transfer: Transfer) -> None:
    def delay_s(topic: str) -> float:
        transfer.source.is_down = topic == transfer.topic(3)
        return 0.0

    transfer.source.delay_s = delay_s
    with pytest.raises(LinkError):
        await transfer.fetcher.fetch(REF)
    assert transfer.asked == []


async def test_a_full_disk_in_the_middle_is_a_disk_error(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(DiskError, match="No space left"):
        await transfer.fetcher.fetch(REF)
    assert transfer.asked == []


async def test_two_who_need_the_same_artifact_share_one_transfer(transfer: Transfer) -> None:
    transfer.source.delay_s = lambda _: 0.001
    paths: list[Path] = []

    async def fetch() -> None:
        paths.append(await transfer.fetcher.fetch(REF))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(fetch)
    assert len(paths) == 3
    assert set(transfer.source.delivered.values()) == {1}


async def test_a_cancelled_transfer_is_gone_on_with(transfer: Transfer) -> None:
    transfer.source.delay_s = lambda topic: 5.0 if topic == transfer.topic(6) else 0.0
    with anyio.move_on_after(0.3):
        await transfer.fetcher.fetch(REF)
    transfer.source.delay_s = lambda _: 0.0
    transfer.source.delivered.clear()
    assert (await transfer.fetcher.fetch(REF)).read_bytes() == DATA
    assert len(transfer.source.delivered) < CHUNKS
