"""Desired states that the disk does not take: taken again until it does, or until a newer one comes."""

import anyio
import pytest

from shoal_agent.desired_feed import take_each

pytestmark = pytest.mark.anyio
WAIT_S = 10.0
LONG_S = 3600.0


class Disk:
    """Takes an envelope after it has failed so many times; the taken ones and all tries are seen."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tries: list[bytes] = []
        self.taken: list[bytes] = []
        self.has_taken = anyio.Event()

    def take(self, envelope: bytes) -> bool:
        self.tries.append(envelope)
        self.failures -= 1
        if self.failures >= 0:
            return False
        self.taken.append(envelope)
        self.has_taken.set()
        return True


async def fed(disk: Disk, *envelopes: bytes, retry_min_s: float = 0.01) -> None:
    """Feed envelopes and wait until one is taken."""
    send, receive = anyio.create_memory_object_stream[bytes](10)
    async with send, receive, anyio.create_task_group() as group:
        group.start_soon(lambda: take_each(receive, disk.take, retry_min_s=retry_min_s, retry_max_s=LONG_S))
        for envelope in envelopes:
            send.send_nowait(envelope)
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(WAIT_S):
            await disk.has_taken.wait()
        group.cancel_scope.cancel()


async def test_a_state_that_the_disk_did_not_take_is_taken_again_until_it_does() -> None:
    disk = Disk(failures=3)
    await fed(disk, b"one")
    assert disk.tries == [b"one"] * 4


async def test_a_newer_state_takes_the_place_of_one_that_waits() -> None:
    disk = Disk(failures=1)
    await fed(disk, b"one", b"two", retry_min_s=LONG_S)
    assert disk.tries == [b"one", b"two"]


async def test_a_topic_that_is_cleared_does_not_take_back_what_waits() -> None:
    disk = Disk(failures=1)
    await fed(disk, b"one", b"", retry_min_s=0.3)
    assert disk.taken == [b"one"]


async def test_what_is_taken_is_not_taken_again_and_the_end_of_the_link_ends_it() -> None:
    disk = Disk(failures=0)
    send, receive = anyio.create_memory_object_stream[bytes](10)
    send.send_nowait(b"one")
    await send.aclose()
    with anyio.fail_after(WAIT_S):
        await take_each(receive, disk.take, retry_min_s=0.0, retry_max_s=0.0)
    assert disk.tries == [b"one"]
    await receive.aclose()
