"""Trusted time: it never lies before what is known for certain, and only what is signed lifts it for good."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from shoal_agent.clock import MADE_AT, MOST_AHEAD, Clock, system_clock

NOON = datetime(2027, 3, 1, 12, tzinfo=timezone.utc)
DAY, YEAR = timedelta(days=1), timedelta(days=365)
KEYS, OTHER_KEYS = ("a", "b"), ("c",)


class Board:
    """A board whose clock a test sets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.time = NOON
        self.start()

    def start(self) -> None:
        self.clock = Clock(self.path, lambda: self.time)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "trust" / "clock.json")


def test_a_right_clock_is_believed(board: Board) -> None:
    assert board.clock() == NOON
    assert not board.clock.is_behind


def test_this_version_was_made_before_now() -> None:
    assert system_clock() > MADE_AT


def test_a_board_that_boots_in_1970_begins_when_its_software_was_made(board: Board) -> None:
    board.time = datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert board.clock() == MADE_AT
    assert board.clock.is_behind


def test_what_the_hub_has_signed_is_the_floor_after_every_start(board: Board) -> None:
    board.clock.learn(NOON, KEYS)
    board.time = datetime(1970, 1, 1, tzinfo=timezone.utc)
    board.start()
    assert board.clock() == NOON


def test_an_older_signature_does_not_lower_the_floor(board: Board) -> None:
    board.clock.learn(NOON, KEYS)
    assert board.clock.is_replay(NOON - DAY, KEYS)
    board.clock.learn(NOON - DAY, KEYS)
    assert board.clock.floor == NOON


def test_the_last_time_seen_is_kept_over_a_stop(board: Board) -> None:
    board.clock.learn(NOON, KEYS)
    board.time = NOON + DAY / 2
    board.clock.save()
    board.time = datetime(1970, 1, 1, tzinfo=timezone.utc)
    board.start()
    assert board.clock() == NOON + DAY / 2


def test_a_clock_that_jumps_a_year_ahead_and_comes_back_lifts_the_floor_by_a_day_at_most(board: Board) -> None:
    board.clock.learn(NOON, KEYS)
    board.time = NOON + YEAR
    assert board.clock() == NOON + YEAR
    board.clock.save()
    board.time = NOON
    board.start()
    assert board.clock() == NOON + MOST_AHEAD
    board.time = NOON + MOST_AHEAD + DAY
    assert board.clock() == board.time


def test_other_keys_set_the_time_anew_even_to_an_earlier_one(board: Board) -> None:
    board.clock.learn(NOON + YEAR, KEYS)
    assert not board.clock.disbelieve(KEYS)
    assert board.clock.disbelieve(OTHER_KEYS)
    board.clock.learn(NOON - DAY, OTHER_KEYS)
    assert board.clock.floor == NOON - DAY
    assert not board.clock.disbelieve(OTHER_KEYS)


def test_other_keys_take_back_what_was_seen_by_the_time_of_the_ones_before(board: Board) -> None:
    board.clock.learn(NOON + YEAR, KEYS)
    board.clock.save()
    board.clock.learn(NOON, OTHER_KEYS)
    assert board.clock.floor == NOON


def test_a_damaged_file_is_no_reason_not_to_start(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    board.clock.learn(NOON, KEYS)
    board.path.write_bytes(b"the disk has damaged this")
    board.start()
    assert board.clock.floor == MADE_AT
    assert "the hub's next timestamp sets" in caplog.text


def test_a_full_disk_leaves_the_floor_in_memory(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    board.path.parent.mkdir(parents=True)
    board.path.parent.joinpath(".clock.json.new").mkdir()
    board.clock.learn(NOON + DAY, KEYS)
    assert board.clock() == NOON + DAY
    assert "free some disk space" in caplog.text
