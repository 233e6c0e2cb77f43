"""What the hub must get: in order, kept until acknowledged, bounded, and never mistaken for something else."""

import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_agent.errors import DiskError
from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings
from shoal_contract.telemetry import BlobOffer, DeploymentEvent, EventBody, MissingArtifact


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite", OutboxSettings())
    yield box
    box.close()


def waiting(box: Outbox) -> list[bytes]:
    return [queued.body for queued in box.after(0, 1000)]


def test_messages_come_in_the_order_in_which_they_were_put(outbox: Outbox) -> None:
    sequences = [outbox.put("event", "deployment", b"%d" % n) for n in range(5)]
    assert sequences == [1, 2, 3, 4, 5]
    assert waiting(outbox) == [b"0", b"1", b"2", b"3", b"4"]
    assert [queued.position.sequence for queued in outbox.after(2, 2)] == [3, 4]


def test_only_what_is_acknowledged_goes(outbox: Outbox) -> None:
    for n in range(5):
        outbox.put("event", "deployment", b"%d" % n)
    outbox.acknowledge(3)
    assert waiting(outbox) == [b"3", b"4"]
    assert (outbox.acknowledged(), outbox.depth(), outbox.last()) == (3, 2, 5)
    assert {queued.position.oldest for queued in outbox.after(0, 10)} == {4}


def test_a_sequence_is_never_given_twice_even_when_all_is_acknowledged_and_restarted(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    box = Outbox(path, OutboxSettings())
    box.put("event", "deployment", b"first")
    box.acknowledge(1)
    stream = box.stream
    box.close()

    again = Outbox(path, OutboxSettings())
    assert (again.stream, again.acknowledged()) == (stream, 1)
    assert again.put("event", "deployment", b"second") == 2
    again.close()


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=30),
    most=st.integers(1, 10),
    most_bytes=st.integers(1, 1000),
)
def test_bounds_hold_by_dropping_from_the_head_alone(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int, most_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "outbox.sqlite"
    box = Outbox(path, OutboxSettings(max_messages=most, max_bytes=most_bytes))
    for size in sizes:
        box.put("telemetry", "window", b"x" * size)
        held = box.after(0, 1000)
        assert len(held) == box.depth() <= most
        assert len(held) == 1 or sum(len(queued.body) for queued in held) <= most_bytes
    sequences = [queued.position.sequence for queued in box.after(0, 1000)]
    assert sequences == list(range(len(sizes) - len(sequences) + 1, len(sizes) + 1))
    assert {queued.position.oldest for queued in box.after(0, 1000)} == {sequences[0]}
    assert box.dropped == len(sizes) - len(sequences)
    box.close()


@settings(max_examples=15)
@given(clock_ms=st.lists(st.integers(0, 2**41), min_size=2, max_size=8))
def test_connection_numbers_rise_whatever_the_clock_does(
    tmp_path_factory: pytest.TempPathFactory, clock_ms: list[int]
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "outbox.sqlite"
    numbers = []
    for now_ms in clock_ms:
        box = Outbox(path, OutboxSettings())
        numbers += [box.next_connection(now_ms), box.next_connection(now_ms)]
        box.close()
    assert all(left < right for left, right in itertools.pairwise(numbers))


def test_uploads_are_remembered_until_they_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    box = Outbox(path, OutboxSettings())
    box.add_upload("a" * 64, 5)
    box.add_upload("b" * 64, 6)
    box.drop_upload("a" * 64)
    box.close()
    again = Outbox(path, OutboxSettings())
    assert again.uploads() == {"b" * 64: 6}
    again.close()


def test_another_stream_keeps_what_waits(outbox: Outbox) -> None:
    outbox.put("event", "deployment", b"waits")
    before = outbox.stream
    outbox.begin_stream()
    (queued,) = outbox.after(0, 10)
    assert queued.position.stream == outbox.stream > before


def test_a_later_stream_follows_every_one_before_it_however_the_clock_stands(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite", OutboxSettings(), clock_ns=lambda: 5)
    assert box.stream == f"{5:016x}"
    box.begin_stream()
    assert box.stream == f"{6:016x}"
    box.begin_stream(after=f"{9:016x}")
    assert box.stream == f"{10:016x}"
    box.begin_stream(after="f" * 16)
    assert box.stream == f"{10:016x}", "none could come after it"
    box.close()


@pytest.mark.parametrize("damage", [b"no database at all, but long enough", b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_file_is_put_aside_and_another_stream_begun(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.sqlite"
    first = Outbox(path, OutboxSettings())
    stream = first.stream
    first.close()
    path.write_bytes(damage)

    box = Outbox(path, OutboxSettings())

    assert box.stream > stream
    assert box.put("event", "deployment", b"works") == 1
    assert (tmp_path / "outbox.sqlite.damaged").read_bytes() == damage
    assert "damaged" in caplog.text
    box.close()


def test_a_disk_that_takes_no_write_is_an_error_with_a_remedy_and_connections_still_get_numbers(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    first = outbox.next_connection(1000)
    outbox._database.execute("PRAGMA query_only=ON")

    with pytest.raises(DiskError, match="queueing a message") as refused:
        outbox.put("event", "deployment", b"lost")

    assert refused.value.remedy == "free some disk space"
    assert outbox.depth() == 0
    assert outbox.next_connection(1000) > first
    assert outbox.next_connection(0) > first + 1
    assert "could not be kept" in caplog.text


def test_a_locked_file_is_not_taken_for_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.sqlite"

    def locked(*_: object, **__: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(sqlite3, "connect", locked)
    with pytest.raises(DiskError, match="locked"):
        Outbox(path, OutboxSettings())
    assert not (tmp_path / "outbox.sqlite.damaged").exists()


OPENS_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384))  # as little as SQLite needs no log's index for
print([queued.body for queued in Outbox(Path(sys.argv[1]), OutboxSettings()).after(0, 9)])
"""


def test_it_opens_and_reads_on_a_disk_that_is_full(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite", OutboxSettings())) as outbox:
        outbox.put("event", "x", b"{}")
    command = [sys.executable, "-c", OPENS_ON_A_FULL_DISK, str(tmp_path / "outbox.sqlite")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    opened = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert opened.stdout == "[b'{}']\n", opened.stderr


STEP, END, AT_ONCE = OutboxSettings().linger_s, OutboxSettings().ending_s, 0.0


@pytest.mark.parametrize(
    ("body", "linger_s"),
    [
        (DeploymentEvent(model="m", version=1, deployment="dp", step="stage"), STEP),
        (DeploymentEvent(model="m", version=1, deployment="dp", step="commit"), END),
        (DeploymentEvent(model="m", version=1, deployment="dp", step="fail"), END),
        (DeploymentEvent(model="m", version=1, deployment="dp", step="roll_back"), END),
        (MissingArtifact(sha256="0" * 64), AT_ONCE),
        (BlobOffer(sha256="0" * 64, size_bytes=1, chunk_bytes=1), AT_ONCE),
    ],
    ids=["stage", "commit", "fail", "roll back", "missing artifact", "offer"],
)
def test_a_step_waits_for_the_next_its_end_for_the_report_and_all_else_for_nothing(
    outbox: Outbox, body: EventBody, linger_s: float
) -> None:
    told: list[float] = []
    outbox.on_change = told.append
    outbox.put_event(body, datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert told == [linger_s]


def test_a_step_waits_longer_where_the_rollout_says_so_and_its_end_does_not(outbox: Outbox) -> None:
    told: list[float] = []
    outbox.on_change = told.append
    for step, progress_s in (("fetch", 20.0), ("fetch", STEP / 2), ("commit", 20.0)):
        body = DeploymentEvent(model="m", version=1, deployment="dp", step=step)
        outbox.put_event(body, datetime(2026, 1, 1, tzinfo=timezone.utc), progress_s)
    assert told == [20.0, STEP, END]


def test_the_end_of_a_deployment_is_told_within_a_second_even_without_a_report() -> None:
    assert 0 < END <= 1 < STEP
