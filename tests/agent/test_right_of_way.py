"""What is urgent has the link to itself: other transfers stop between two chunks, and go on when it has ended."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.retained import CHUNK, RetainedTopics

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import FetchError
from shoal_agent.fetch import AskNearby, Fetcher
from shoal_agent.fetch_limits import FetchLimits
from shoal_agent.settings import FetchSettings
from shoal_agent.turns import RightOfWay
from shoal_contract import topics
from shoal_contract.desired import DesiredConfig
from shoal_contract.transfer import TransferManifest, split

pytestmark = pytest.mark.anyio
ORDINARY, URGENT, OTHER = (np.random.default_rng(seed).bytes(180_000) for seed in (1, 2, 3))
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


class Unlimited:
    """A ledger of a device without a budget."""

    month = "2026-11"

    def spent_bytes(self) -> int:
        return 0

    def reserve(self, ahead_bytes: int) -> None:
        """Nothing is spent."""


async def test_under_a_cap_no_chunk_that_waits_for_its_turn_goes_before_an_urgent_one(
    link: SlowLink, tmp_path: Path
) -> None:
    link.publish(OTHER)
    limits = FetchLimits(Unlimited())
    limits.configure(DesiredConfig(max_fetch_bytes_per_s=20_000))
    capped = Fetcher(link, BlobStore(tmp_path / "blobs"), tell_nobody, FetchSettings(), limits=limits)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for data in (ORDINARY, OTHER):
                group.start_soon(capped.fetch, ref_of(data))
            await until_asked(link, 2)  # a second's worth; from now on each chunk waits
            before = len(link.asked)
            started_s = anyio.current_time()
            await capped.fetch(ref_of(URGENT), is_urgent=True)
            took_s = anyio.current_time() - started_s
            meanwhile = link.asked[before:]
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert meanwhile == ["urgent"] * 11
    assert took_s < len(URGENT) / 20_000 / 2, "the cap does not hold it up"


async def test_a_chunk_whose_turn_comes_while_an_urgent_transfer_runs_waits_all_the_same(
    link: SlowLink, tmp_path: Path
) -> None:
    asked_meanwhile: list[int] = []

    @asynccontextmanager
    async def slow_neighbour(manifest: TransferManifest) -> AsyncIterator[AskNearby]:
        async def ask(index: int) -> bytes | None:
            if manifest.sha256 != ref_of(URGENT).sha256:
                return None
            await anyio.sleep(0.2)
            asked_meanwhile.append(len(link.asked))
            return list(split(URGENT, CHUNK))[index]

        yield ask

    limits = FetchLimits(Unlimited())
    limits.configure(DesiredConfig(max_fetch_bytes_per_s=100_000))
    store = BlobStore(tmp_path / "blobs")
    capped = Fetcher(link, store, tell_nobody, FetchSettings(), nearby=slow_neighbour, limits=limits)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(capped.fetch, ref_of(ORDINARY))
            await until_asked(link, 7)  # a second's worth; from now on each chunk waits
            await capped.fetch(ref_of(URGENT), is_urgent=True)
    assert len(asked_meanwhile) == 11
    assert asked_meanwhile[-1] <= 8, "the chunk whose turn came while the urgent list did"


async def test_the_time_for_a_transfer_stands_still_while_it_gives_way(link: SlowLink, fetcher: Fetcher) -> None:
    link.delay_s = lambda topic: 0.2 if ref_of(URGENT).sha256 in topic else CHUNK_S
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: fetcher.fetch(ref_of(URGENT), is_urgent=True))
            await until_asked(link, 1)
            with fetcher.within(0.5, is_urgent=False):
                await fetcher.fetch(ref_of(ORDINARY))
            assert "ordinary" not in link.asked[: link.asked.index("urgent") + 11]


async def test_what_is_left_of_the_time_for_a_transfer_counts_when_it_goes_on() -> None:
    way, started_s = RightOfWay(), anyio.current_time()

    async def give_way() -> None:
        with way.within(0.2):
            with way.taken(), way.taken():
                await anyio.sleep(0.3)
            await anyio.sleep(5)

    with pytest.raises(TimeoutError):
        await give_way()
    assert 0.5 <= anyio.current_time() - started_s < 2


async def test_a_time_that_has_run_out_before_something_urgent_began_has_run_out() -> None:
    way = RightOfWay()

    async def give_way() -> None:
        with ExitStack() as until_later, way.within(0.01):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            until_later.enter_context(way.taken())
            await anyio.sleep(5)

    with pytest.raises(TimeoutError):
        await give_way()


async def test_an_urgent_transfer_has_its_own_time(link: SlowLink, fetcher: Fetcher) -> None:
    link.delay_s = lambda _: 0.2
    with pytest.raises(TimeoutError), fetcher.within(0.1, is_urgent=True):
        await fetcher.fetch(ref_of(URGENT), is_urgent=True)


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
