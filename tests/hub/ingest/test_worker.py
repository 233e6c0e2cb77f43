"""The ingest process's worker: what it tells the broker and when, and what must not end it."""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select
from tests.hub.ingest.test_traced import KNOWN, know
from tests.hub.ingest.test_traced import message as traced
from tests.hub.tracing.recorder import recording
from tests.simulators.rows import add_device, make_report

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_hub.database import Database
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.ingest.commit import Committed, Committer
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.reading import Read
from shoal_hub.ingest.receive import Received
from shoal_hub.ingest.worker import BATCH_MESSAGES, COMMIT_MESSAGES, Endpoints, IngestWorker, _drain
from shoal_hub.meters import METERS
from shoal_hub.mqtt import Disconnected, Endpoint, Message
from shoal_hub.transfer.uploads import Uploads
from shoal_hub.trust.ca import Identity

DEVICE = new_device_id()


class FullDisk:
    """Uploads whose disk takes nothing."""

    def __init__(self) -> None:
        self.looks = 0

    def chunk(self, *_: object) -> None:
        raise OSError(28, "No space left on device")

    def idle(self, *_: object) -> list[str]:
        self.looks += 1
        return []


@pytest.fixture
def worker(sqlite_database: Database, tmp_path: Path) -> IngestWorker:
    endpoint = Endpoint("127.0.0.1", 1, tmp_path, Identity(tmp_path, tmp_path))
    endpoints = Endpoints(endpoint, endpoint, endpoint)
    worker = IngestWorker(
        sqlite_database,
        Committer(sqlite_database, Handlers()),
        cast("Uploads", FullDisk()),
        endpoints,
        "group",
        messages_per_s=100,
    )
    worker.stop()  # nothing waits
    return worker


def message(topic: str, acknowledged: list[str]) -> Message:
    return Message(topic, b"data", is_retained=False, acknowledge=lambda: acknowledged.append(topic))


def test_the_broker_is_told_of_a_chunk_that_could_not_be_kept_or_it_would_send_no_more(worker: IngestWorker) -> None:
    acknowledged: list[str] = []
    topic = topics.up_blob(DEVICE, "0" * 64, 0)

    worker._take_chunk(message(topic, acknowledged))

    assert acknowledged == [topic]


def test_chunks_that_go_while_idle_uploads_are_looked_for_do_not_end_the_thread(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def idle(*_: object) -> list[str]:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(worker._uploads, "idle", idle)

    worker._ask_idle()

    assert "trying again" in caplog.text


def test_a_device_that_makes_up_topics_fills_no_table(worker: IngestWorker, sqlite_database: Database) -> None:
    acknowledged: list[str] = []
    for index in range(50):
        worker._take_chunk(message(f"shoal/1/device/{DEVICE}/up/blob/made-up/{index}-x", acknowledged))
        worker._reader.read([message(f"shoal/1/device/{DEVICE}/up/event/{index}", acknowledged)])

    assert len(acknowledged) == 50
    with sqlite_database.session() as session:
        assert len(session.exec(select(EventRow)).all()) == 1


def test_the_broker_is_told_of_a_message_once_it_is_committed_and_not_before(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    topic = topics.up(DEVICE, "event")
    report = Received(DEVICE, make_report())
    monkeypatch.setattr(worker._reader, "read", lambda _messages: Read([report], frozenset()))
    monkeypatch.setattr(worker, "_commit", lambda _received: done.append("committed"))
    worker._events.put(message(topic, done))

    worker._take_batch()

    assert done == ["committed", topic]


def test_messages_that_hold_many_are_committed_in_parts_that_do_not_hold_the_database_for_long(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    several = [Received(DEVICE, make_report())] * (2 * COMMIT_MESSAGES + 1)
    monkeypatch.setattr(worker._reader, "read", lambda _messages: Read(several, frozenset()))
    monkeypatch.setattr(worker, "_commit", lambda received: done.append(f"{len(received)}"))
    worker._events.put(message("topic", done))

    worker._take_batch()

    assert done == [f"{COMMIT_MESSAGES}", f"{COMMIT_MESSAGES}", "1", "topic"]


def test_the_database_is_asked_for_idle_uploads_now_and_then_and_not_as_often_as_the_thread_wakes(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = cast("FullDisk", worker._uploads)
    monkeypatch.setattr("shoal_hub.ingest.worker.BATCH_MESSAGES", 1)

    def looks(wakes: int) -> int:
        before, woken = uploads.looks, iter(range(wakes + 1))
        for _ in range(wakes):
            worker._blob_events.put(Disconnected("a wake"))
        monkeypatch.setattr(worker._stopping, "is_set", lambda: next(woken) == wakes)
        worker._serve_blobs()
        return uploads.looks - before

    assert looks(wakes=20) == 1
    monkeypatch.setattr("shoal_hub.ingest.worker._IDLE_CHECK_S", 0.0)
    assert looks(wakes=20) == 20


def test_a_wait_in_which_nothing_comes_is_no_batch(worker: IngestWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[Sequence[Message]] = []

    def read(messages: Sequence[Message]) -> Read:
        batches.append(messages)
        return Read([], frozenset())

    monkeypatch.setattr(worker._reader, "read", read)
    _drain(worker._events)  # what stopped the worker
    worker._take_batch(0.0)
    assert batches == []


def test_what_ends_ingest_ends_the_thread_that_waits_for_uploads_at_once(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = cast("FullDisk", worker._uploads)

    def fail(_wait_s: float) -> None:
        while not uploads.looks:
            time.sleep(0.01)
        time.sleep(0.1)  # until the thread waits again
        raise RuntimeError("an error that nobody has thought of")

    monkeypatch.setattr(worker, "_take_batch", fail)
    monkeypatch.setattr(worker._blobs, "start", lambda: None)  # it would tell that there is no broker
    monkeypatch.setattr("shoal_hub.ingest.worker._IDLE_CHECK_S", 20.0)
    _drain(worker._blob_events)  # what stopped the worker
    worker._stopping.clear()
    began_s = time.monotonic()
    with pytest.raises(RuntimeError, match="nobody has thought of"):
        worker.run(lambda: None)
    assert time.monotonic() - began_s < 10.0


def test_what_comes_soon_after_a_batch_is_committed_together_and_a_full_batch_waits_for_nothing(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_GATHER_RATIO", "_LONGEST_GATHER_S"):
        monkeypatch.setattr(f"shoal_hub.ingest.worker.{name}", 1e9)
    done: list[str] = []
    batches: list[int] = []

    def read(messages: Sequence[Message]) -> Read:
        batches.append(len(messages))
        return Read([], frozenset())

    monkeypatch.setattr(worker._reader, "read", read)
    drained = _drain(worker._events)  # what stopped the worker
    worker._events.put(message("first", done))

    worker._take_batch()
    gathering = threading.Thread(target=worker._take_batch)
    worker._events.put(message("second", done))
    gathering.start()
    while not worker._events.empty():
        gathering.join(0.001)
    for number in range(BATCH_MESSAGES - 1):
        worker._events.put(message(f"{number}", done))
    gathering.join(10.0)

    assert len(drained) == 1
    assert batches == [1, BATCH_MESSAGES]
    assert len(done) == BATCH_MESSAGES + 1


def test_a_batch_for_which_the_database_is_away_is_tried_again_and_the_broker_told_after_it(
    worker: IngestWorker, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_database.transaction() as session:
        add_device(session, DEVICE)
    done: list[str] = []
    commit = worker._committer.commit

    def fail_twice(batch: Sequence[Received], now: datetime) -> Committed:
        done.append("try")
        if len(done) < 3:
            raise OperationalError("COMMIT", {}, Exception("the database system is shutting down"))
        return commit(batch, now)

    monkeypatch.setattr(worker._committer, "commit", fail_twice)
    monkeypatch.setattr("shoal_hub.ingest.worker._RETRY_S", 0.0)
    report = Received(DEVICE, make_report(generation=7))
    monkeypatch.setattr(worker._reader, "read", lambda _messages: Read([report], frozenset()))
    worker._stopping.clear()
    worker._events.put(message("topic", done))

    worker._take_batch()

    assert done == ["try", "try", "try", "topic"]
    with sqlite_database.session() as session:
        assert session.get_one(Device, DEVICE).reported_generation == 7


def test_a_database_that_is_away_costs_the_word_that_something_was_dropped_and_nothing_else(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OperationalError("BEGIN", None, Exception("the server is away"))

    monkeypatch.setattr(worker._database, "transaction", fail)
    acknowledged: list[str] = []
    stray = Message(
        topics.up_blob(DEVICE, "0" * 64, 0), b"data", is_retained=True, acknowledge=lambda: acknowledged.append("stray")
    )
    worker._take_chunk(stray)
    worker._reader.read([message(f"shoal/1/device/{DEVICE}/up/made-up", acknowledged)])
    assert acknowledged == ["stray"]


def test_who_waits_behind_a_whole_batch_is_not_gathered_for(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that hold many are few: a gathering that ends with a number of them would go on for its whole time."""
    for messages, gathers in ((BATCH_MESSAGES, False), (BATCH_MESSAGES - 1, True)):
        several = [Received(DEVICE, make_report())] * messages
        monkeypatch.setattr(worker._reader, "read", lambda _messages, several=several: Read(several, frozenset()))
        monkeypatch.setattr(worker, "_commit", lambda _received: sum(range(10_000)))
        worker._events.put(message(topics.up(DEVICE, "windows"), []))
        worker._take_batch()
        assert (worker._gathers_until_s > time.monotonic()) == gathers


def test_only_messages_that_are_believed_continue_a_trace(
    worker: IngestWorker, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recording() as recorder:
        know(sqlite_database, KNOWN)
        worker._events.put(traced(KNOWN))  # of a device that nobody knows
        worker._take_batch()
        assert recorder.names == ["request"]
        believed = traced(KNOWN)
        monkeypatch.setattr(worker._reader, "read", lambda _messages: Read([], frozenset(), [believed]))
        worker._events.put(believed)
        worker._take_batch()
    assert recorder.names == ["request", "ingest"]


def test_chunks_are_counted_as_what_devices_send_and_what_is_cleared_is_not_told_as_dropped(
    worker: IngestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted() -> list[float]:
        names = ("shoal_ingest_messages_total", "shoal_ingest_bytes_total")
        found = [METERS.get_sample_value(name, {"channel": "blob"}) for name in names]
        dropped = [one.value for family in METERS.collect() if family.name == "shoal_ingest_messages_dropped"
                   for one in family.samples]  # fmt: skip
        cleared = METERS.get_sample_value("shoal_ingest_retained_cleared_total")
        return [*(value or 0 for value in (*found, cleared)), sum(dropped)]

    monkeypatch.setattr(worker._blobs, "publish", lambda *_, **__: None)
    before = counted()
    topic = topics.up_blob(DEVICE, "0" * 64, 0)
    worker._take_chunk(Message(topic, b"data", is_retained=True, acknowledge=lambda: None))
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 4, 1, 0]
