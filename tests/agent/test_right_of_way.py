"""What is urgent has the link to itself: other transfers stop between two chunks, and go on when it has ended."""

from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.retained import RetainedTopics

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import FetchError
from shoal_agent.fetch import Fetcher
from shoal_agent.settings import FetchSettings
from shoal_contract import topics

pytestmark = pytest.mark.anyio
ORDINARY, URGENT = (np.random.default_rng(seed).bytes(180_000) for seed in (1, 2))
CHUNK_S = 0.01


class SlowLink(RetainedTopics):
    """A source that lets a chunk at a time through, and notes the order in which they were asked for."""

    def __init__(self) -> None:
        super().__init__(delay_s=lambda _: CHUNK_S)
        self.asked: list[str] = []

    async def read_retained(self, topic: str, timeout_s: float) -> bytes:
        if not topic.endswith("/manifest"):
            self.asked.append("urgent" if ref_of(URGENT).sha256 in topic else "ordinary")
        return await super().read_retained(topic, timeout_s)


@pytest.fixture
def link() -> SlowLink:
    made = SlowLink()
    for data in (ORDINARY, URGENT):
        made.publish(data)
    return made


async def tell_nobody(_sha256: str, _detail: str) -> None:
    """Nobody listens."""


@pytest.fixture
def fetcher(tmp_path: Path, link: SlowLink) -> Fetcher:
    return Fetcher(link, BlobStore(tmp_path / "blobs"), tell_nobody, FetchSettings(silence_s=0.05, fast_chunk_s=0.001))


async def until_asked(link: SlowLink, chunks: int) -> None:
    with anyio.fail_after(5):
        while len(link.asked) < chunks:  # noqa: ASYNC110 - the source tells nobody
            await anyio.sleep(CHUNK_S / 4)


async def test_while_an_urgent_transfer_runs_others_ask_for_no_chunk(link: SlowLink, fetcher: Fetcher) -> None:
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(fetcher.fetch, ref_of(ORDINARY))
            await until_asked(link, 3)
            before = len(link.asked)
            await fetcher.fetch(ref_of(URGENT), is_urgent=True)
            urgent = [place for place, who in enumerate(link.asked) if who == "urgent"]
            meanwhile = [who for who in link.asked[before : urgent[-1]] if who == "ordinary"]
    assert len(meanwhile) <= 1, "the chunk that was about to be asked for while the urgent list came"
    assert fetcher._blobs.path(ref_of(ORDINARY).sha256).read_bytes() == ORDINARY


async def test_an_urgent_transfer_that_fails_or_is_given_up_holds_up_nobody(link: SlowLink, fetcher: Fetcher) -> None:
    del link.messages[topics.artifact_chunk(ref_of(URGENT).sha256, 5)]
    with pytest.raises(FetchError):
        await fetcher.fetch(ref_of(URGENT), is_urgent=True)
    async with anyio.create_task_group() as group:
        link.delay_s = lambda topic: 60.0 if ref_of(URGENT).sha256 in topic else 0.0
        group.start_soon(lambda: fetcher.fetch(ref_of(URGENT), is_urgent=True))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    with anyio.fail_after(5):
        await fetcher.fetch(ref_of(ORDINARY))


async def test_what_is_on_its_way_already_comes_when_it_becomes_urgent(link: SlowLink, fetcher: Fetcher) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(fetcher.fetch, ref_of(ORDINARY))
            await until_asked(link, 3)
            await fetcher.fetch(ref_of(ORDINARY), is_urgent=True)
