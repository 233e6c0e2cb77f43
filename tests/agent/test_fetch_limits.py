"""Transfers under a cap and a monthly budget: the pace holds, what is held costs nothing, what is urgent comes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.retained import CHUNK, RetainedTopics

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import BudgetError
from shoal_agent.fetch import AskNearby, Fetcher
from shoal_agent.fetch_limits import FetchLimits
from shoal_agent.settings import FetchSettings
from shoal_contract import topics
from shoal_contract.desired import DesiredConfig
from shoal_contract.transfer import TransferManifest, split

pytestmark = pytest.mark.anyio
DATA = np.random.default_rng(3).bytes(180_000)  # eleven chunks
REF = ref_of(DATA)


class Spent:
    """A ledger in memory: what the broker has delivered, and what was spent before."""

    month = "2026-11"

    def __init__(self, source: RetainedTopics) -> None:
        self.source = source
        self.before_bytes = 0
        self.reserved: list[int] = []

    def spent_bytes(self) -> int:
        delivered = self.source.delivered.items()
        return self.before_bytes + sum(count * len(self.source.messages[topic]) for topic, count in delivered)

    def reserve(self, ahead_bytes: int) -> None:
        self.reserved.append(ahead_bytes)


class Limited:
    """A fetcher under limits, on an empty store."""

    def __init__(self, folder: Path) -> None:
        self.source = RetainedTopics()
        self.source.publish(DATA)
        self.spent = Spent(self.source)
        self.limits = FetchLimits(self.spent)
        self.near: dict[int, bytes] = {}
        self.asked: list[str] = []
        self.blobs = BlobStore(folder / "blobs")
        self.fetcher = Fetcher(
            self.source, self.blobs, self._ask, FetchSettings(silence_s=0.05), self._nearby, self.limits
        )

    @property
    def chunks(self) -> int:
        """Chunks that the broker has delivered."""
        return sum(count for topic, count in self.source.delivered.items() if not topic.endswith("manifest"))

    @asynccontextmanager
    async def _nearby(self, _manifest: TransferManifest) -> AsyncIterator[AskNearby]:
        async def ask(index: int) -> bytes | None:
            return self.near.get(index)

        yield ask

    async def _ask(self, sha256: str, _detail: str) -> None:
        self.asked.append(sha256)


@pytest.fixture
def limited(tmp_path: Path) -> Limited:
    return Limited(tmp_path)


async def _took_s(limited: Limited) -> float:
    started_s = anyio.current_time()
    await limited.fetcher.fetch(REF)
    return anyio.current_time() - started_s


async def test_a_cap_holds_on_average(limited: Limited) -> None:
    limited.limits.configure(DesiredConfig(max_fetch_bytes_per_s=100_000))
    # A second's worth passes at once; the last chunk is let go as soon as the bucket is out of debt.
    assert (len(DATA) - 100_000 - CHUNK) / 100_000 <= await _took_s(limited) < 3


async def test_a_cap_lets_fewer_chunks_be_asked_for_at_a_time(limited: Limited) -> None:
    limited.source.delay_s = lambda _: 0.005
    limited.limits.configure(DesiredConfig(max_fetch_bytes_per_s=1_000_000))
    window = limited.limits.window
    assert (window(512 * 1024, 4, 3.0), window(128 * 1024, 4, 3.0)) == (4, 4)
    limited.limits.configure(DesiredConfig(max_fetch_bytes_per_s=60_000))
    assert (window(512 * 1024, 4, 3.0), window(CHUNK, 4, 3.0)) == (1, 4)


async def test_a_cap_that_is_lifted_or_lowered_counts_at_once(limited: Limited) -> None:
    limited.limits.configure(DesiredConfig(max_fetch_bytes_per_s=1))
    async with anyio.create_task_group() as group:
        group.start_soon(limited.fetcher.fetch, REF)
        while limited.chunks == 0:  # noqa: ASYNC110 - the first chunk leaves the bucket in debt for hours
            await anyio.sleep(0.001)
        with anyio.fail_after(5):
            limited.limits.configure(DesiredConfig())
            while not limited.blobs.has(REF.sha256):  # noqa: ASYNC110 - there is no event to wait for
                await anyio.sleep(0.001)


async def test_whoever_is_cancelled_while_waiting_has_spent_nothing(limited: Limited) -> None:
    limited.limits.configure(DesiredConfig(max_fetch_bytes_per_s=50_000))
    with anyio.move_on_after(0.2):
        await limited.fetcher.fetch(REF)
    came = limited.chunks
    started_s = anyio.current_time()
    await limited.fetcher.fetch(REF)
    left_bytes = len(DATA) - came * CHUNK
    assert anyio.current_time() - started_s < left_bytes / 50_000 + 1


async def test_a_file_that_does_not_fit_is_not_begun_and_trying_again_costs_nothing(limited: Limited) -> None:
    limited.limits.configure(DesiredConfig(max_bytes_per_month=1_000_000))
    limited.spent.before_bytes = 1_000_000 - len(DATA)
    for _ in range(5):
        with pytest.raises(BudgetError) as caught:
            await limited.fetcher.fetch(REF)
    assert "of the 1000000 bytes of 2026-11 are left to spend" in str(caught.value)
    assert "2026-12-01 00:00 UTC" in caught.value.remedy
    assert limited.source.delivered == {topics.artifact_manifest(REF.sha256): 1}
    assert limited.asked == [], "nothing is missing at the broker"


async def test_what_is_urgent_comes_although_the_budget_is_spent(limited: Limited) -> None:
    limited.limits.configure(DesiredConfig(max_bytes_per_month=1))
    with pytest.raises(BudgetError):
        await limited.fetcher.fetch(REF)
    assert (await limited.fetcher.fetch(REF, is_urgent=True)).read_bytes() == DATA
    assert sum(limited.spent.reserved) == len(DATA), "it is noted all the same"


async def test_what_is_on_disk_costs_nothing_however_much_is_spent(limited: Limited) -> None:
    await limited.fetcher.fetch(REF)
    limited.limits.configure(DesiredConfig(max_bytes_per_month=1))
    limited.spent.before_bytes = 10**9
    assert (await limited.fetcher.fetch(REF)).read_bytes() == DATA


async def test_a_transfer_is_held_in_its_middle_and_goes_on_where_it_was(limited: Limited) -> None:
    limited.limits.configure(DesiredConfig(max_bytes_per_month=10**9))

    def spend(topic: str) -> float:
        limited.spent.before_bytes = 10**9 if topic.endswith("/4") else limited.spent.before_bytes
        return 0.0

    limited.source.delay_s = spend
    with pytest.raises(BudgetError):
        await limited.fetcher.fetch(REF)
    came = limited.chunks
    assert 0 < came < 11
    limited.source.delay_s = lambda _: 0.0
    limited.spent.before_bytes = 0
    await limited.fetcher.fetch(REF)
    assert limited.chunks == 11


async def test_chunks_from_the_site_s_cache_are_neither_paced_nor_paid(limited: Limited) -> None:
    limited.near = dict(enumerate(split(DATA, CHUNK)))
    limited.limits.configure(DesiredConfig(max_fetch_bytes_per_s=1, max_bytes_per_month=1))
    assert await _took_s(limited) < 2
    assert (limited.chunks, limited.spent.reserved) == (0, [])


async def test_what_can_wait_leaves_a_share_of_the_months_budget(tmp_path: Path) -> None:
    limited = Limited(tmp_path)
    assert limited.limits.has_room(10**12, 0.5), "without a budget there is room"
    limited.limits.configure(DesiredConfig(max_bytes_per_month=10_000))
    limited.spent.before_bytes = 4_000
    assert (limited.limits.has_room(900, 0.5), limited.limits.has_room(1_000, 0.5)) == (True, False)
