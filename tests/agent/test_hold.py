"""The owner's veto: whatever lies under its name holds, until it is released or over."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from shoal_agent.errors import DiskError
from shoal_agent.hold import MAX_REASON_CHARS, Hold, HoldFile

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)


class Clock:
    """Trusted time, set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def test_nothing_holds_until_somebody_does_and_not_after_the_release(tmp_path: Path) -> None:
    changes: list[int] = []
    file = HoldFile(tmp_path, Clock())
    file.on_change = lambda: changes.append(1)
    assert file.read() is None
    file.put(file.hold_for("stocktaking", None))
    assert HoldFile(tmp_path, Clock()).read() == Hold(reason="stocktaking")
    assert file.release()
    assert file.read() is None
    assert not file.release()
    assert len(changes) == 3


def test_a_hold_ends_by_trusted_time(tmp_path: Path) -> None:
    clock = Clock()
    file = HoldFile(tmp_path, clock)
    file.put(file.hold_for("", timedelta(hours=2)))
    clock.now = NOON + timedelta(hours=2, microseconds=-1)
    assert file.read() is not None
    clock.now = NOON + timedelta(hours=2)
    assert file.read() is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", ""), (b"backup runs\n", "backup runs"), (b"\xff\x00", "\ufffd "), (b"[]", "[]"), (b"x" * 5000, "x" * 256)],
)
def test_another_program_s_lock_file_holds_with_its_text_as_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "hold").write_bytes(content)
    held = HoldFile(tmp_path, Clock()).read()
    assert held == Hold(reason=reason)


def test_a_hold_that_can_not_be_read_holds(tmp_path: Path) -> None:
    (tmp_path / "hold").mkdir()
    held = HoldFile(tmp_path, Clock()).read()
    assert held is not None
    assert "can not be read" in held.reason
    with pytest.raises(DiskError, match="releasing what serves"):
        HoldFile(tmp_path, Clock()).release()


@pytest.mark.parametrize("how_long", [timedelta(days=367), timedelta.max, timedelta(0), timedelta(seconds=-1)])
def test_a_hold_for_longer_than_it_may_be_is_refused(tmp_path: Path, how_long: timedelta) -> None:
    with pytest.raises(DiskError, match="31622400 s expected") as refused:
        HoldFile(tmp_path, Clock()).hold_for("", how_long)
    assert "until it is released" in refused.value.remedy


def test_a_reason_that_can_not_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="257 characters"):
        HoldFile(tmp_path, Clock()).hold_for("x" * (MAX_REASON_CHARS + 1), None)
