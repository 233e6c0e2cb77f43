"""Blobs on their way to the hub: sent on its credit, kept until it has stored them, offered again after a start."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.simulators.director import DEVICE
from tests.agent.simulators.link import MemoryLink

from shoal_agent.errors import DiskError
from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings
from shoal_agent.uploads import Elsewhere, Uploads
from shoal_contract import topics
from shoal_contract.ack import BlobAnswer
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import DEFAULT_CHUNK_BYTES
from shoal_contract.telemetry import BlobOffer

pytestmark = pytest.mark.anyio
DATA = np.random.default_rng(2).bytes(2 * DEFAULT_CHUNK_BYTES + 100)
SHA256 = sha256_hex(DATA)


class Sender:
    """Uploads with an outbox, on a link in memory."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "outbox.sqlite", OutboxSettings())
        self.offers: list[BlobOffer] = []
        self.folder = folder / "uploads"
        self.uploads = Uploads(self.folder, self.outbox, self.offers.append)
        self.link = MemoryLink()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.uploads.send, self.link, DEVICE)
            self.link.connect()
            yield
            group.cancel_scope.cancel()

    def chunks(self) -> list[int]:
        return [int(topic.rsplit("/", 1)[1]) for topic, _ in self.link.sent]


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    made = Sender(tmp_path)
    yield made
    made.outbox.close()


def credit(*missing: int) -> BlobAnswer:
    return BlobAnswer(state="credit", missing=missing)


async def test_a_blob_is_offered_and_nothing_is_sent_before_a_credit(sender: Sender) -> None:
    assert sender.uploads.add(DATA) == SHA256
    async with sender.running():
        await anyio.wait_all_tasks_blocked()
    assert sender.offers == [BlobOffer(sha256=SHA256, size_bytes=len(DATA), chunk_bytes=DEFAULT_CHUNK_BYTES)]
    assert sender.link.sent == []


async def test_a_full_disk_at_a_start_puts_the_offers_off_and_ends_nothing(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    sender.uploads.add(DATA)

    def full(_offer: BlobOffer) -> None:
        raise DiskError("queueing a message: disk full")

    again = Uploads(sender.folder, sender.outbox, full)
    again.offer_again()
    assert "disk full" in caplog.text
    assert sender.outbox.uploads() == {SHA256: len(DATA)}, "the next start offers it"


async def test_a_credit_brings_the_chunks_that_it_names(sender: Sender) -> None:
    sender.uploads.add(DATA)
    async with sender.running():
        sender.uploads.answer(SHA256, credit(0, 2))
        sent = await sender.link.wait_for(2)
    assert sent == [
        (topics.up_blob(DEVICE, SHA256, 0), DATA[:DEFAULT_CHUNK_BYTES]),
        (topics.up_blob(DEVICE, SHA256, 2), DATA[-100:]),
    ]


async def test_a_blob_whose_bytes_lie_elsewhere_is_no_file_and_its_owner_hears_the_last_word(sender: Sender) -> None:
    words: list[BlobAnswer] = []
    offer = BlobOffer(
        sha256=SHA256, size_bytes=len(DATA), chunk_bytes=DEFAULT_CHUNK_BYTES, purpose="capture", about="digits"
    )
    sender.uploads.offer_elsewhere(offer, Elsewhere(lambda: DATA, words.append, "captures"))
    assert (sender.offers, sender.uploads.category(SHA256)) == ([offer], "captures")
    async with sender.running():
        sender.uploads.answer(SHA256, credit(0, 2))
        sent = await sender.link.wait_for(2)
    assert [payload for _, payload in sent] == [DATA[:DEFAULT_CHUNK_BYTES], DATA[-100:]]
    assert not sender.folder.exists()
    sender.uploads.answer(SHA256, BlobAnswer(state="stored"))
    sender.uploads.answer(SHA256, BlobAnswer(state="stored"))
    assert [one.state for one in words] == ["stored"]
    assert sender.uploads.category(SHA256) == "federated"


async def test_bytes_that_can_not_be_read_any_more_end_nothing(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    def gone() -> bytes:
        raise DiskError("reading a sample: it is gone")

    offer = BlobOffer(sha256="0" * 64, size_bytes=1, chunk_bytes=DEFAULT_CHUNK_BYTES, purpose="capture")
    sender.uploads.offer_elsewhere(offer, Elsewhere(gone, lambda _: None, "captures"))
    sender.uploads.add(DATA)
    async with sender.running():
        sender.uploads.answer("0" * 64, credit(0))
        sender.uploads.answer(SHA256, credit(2))
        assert [payload for _, payload in await sender.link.wait_for(1)] == [DATA[-100:]]
    assert "it is gone" in caplog.text


async def test_a_stored_blob_is_deleted_and_not_offered_again(sender: Sender) -> None:
    sender.uploads.add(DATA)
    sender.uploads.answer(SHA256, BlobAnswer(state="stored"))
    assert sender.outbox.uploads() == {}
    assert list(sender.folder.iterdir()) == []
    sender.offers.clear()
    sender.uploads.offer_again()
    assert sender.offers == []


async def test_a_refused_blob_is_dropped_with_the_hubs_reason_in_the_log(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    sender.uploads.add(DATA)
    sender.uploads.answer(SHA256, BlobAnswer(state="refused", reason="the round is over"))
    assert sender.outbox.uploads() == {}
    assert list(sender.folder.iterdir()) == []
    assert "the round is over" in caplog.text


async def test_a_blob_that_the_hub_does_not_have_is_offered_again_after_a_start(sender: Sender, tmp_path: Path) -> None:
    sender.uploads.add(DATA)
    sender.outbox.close()

    again = Sender(tmp_path)
    again.uploads.offer_again()
    assert [offer.sha256 for offer in again.offers] == [SHA256]
    async with again.running():
        again.uploads.answer(SHA256, credit(1))
        await again.link.wait_for(1)
    assert again.chunks() == [1]
    again.outbox.close()


async def test_a_link_that_goes_down_keeps_the_blob_and_takes_the_next_credit(sender: Sender) -> None:
    sender.uploads.add(DATA)
    async with sender.running():
        sender.link.refuses = 1
        sender.uploads.answer(SHA256, credit(0, 1, 2))
        await anyio.wait_all_tasks_blocked()
        assert sender.link.sent == []
        sender.uploads.answer(SHA256, credit(0, 1, 2))
        await sender.link.wait_for(3)
    assert sender.chunks() == [0, 1, 2]


async def test_a_credit_for_what_is_not_there_is_passed_over(sender: Sender) -> None:
    sender.uploads.add(DATA)
    async with sender.running():
        sender.uploads.answer("0" * 64, credit(0))
        sender.uploads.answer(SHA256, credit(999, 1))
        await sender.link.wait_for(1)
    assert sender.chunks() == [1]


async def test_a_blob_whose_file_is_gone_is_given_up_with_a_word(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    sender.uploads.add(DATA)
    sender.offers.clear()
    (sender.folder / SHA256).unlink()
    sender.uploads.offer_again()
    assert (sender.offers, sender.outbox.uploads()) == ([], {})
    assert "its file is gone" in caplog.text


async def test_a_full_disk_is_an_error_and_nothing_is_offered(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shoal_agent.uploads.replace_file", full)
    with pytest.raises(DiskError, match="No space left"):
        sender.uploads.add(DATA)
    assert (sender.offers, sender.outbox.uploads()) == ([], {})


async def test_only_the_latest_credit_of_a_blob_counts(sender: Sender) -> None:
    sender.uploads.add(DATA)
    for missing in ((0, 1, 2), (1, 2), (2,)):
        sender.uploads.answer(SHA256, credit(*missing))
    async with sender.running():
        await sender.link.wait_for(1)
        await anyio.wait_all_tasks_blocked()
    assert sender.chunks() == [2]


async def test_a_blob_that_is_stored_before_its_credit_is_used_is_passed_over(sender: Sender) -> None:
    sender.uploads.add(DATA)
    sender.uploads.answer(SHA256, credit(0))
    sender.uploads.answer(SHA256, BlobAnswer(state="stored"))
    async with sender.running():
        await anyio.wait_all_tasks_blocked()
    assert sender.chunks() == []
