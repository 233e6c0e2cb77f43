"""A growing file is followed over rotation, truncation, gaps and restarts, and no line is lost or doubled."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.features.sources.file import GrowingFile


def follow(path: Path, place: str = "", *, from_start: bool = True) -> GrowingFile:
    return GrowingFile(path, place, lambda: 0, is_read_from_start=from_start)


def read_all(source: GrowingFile) -> list[bytes]:
    """Read until two looks find nothing new."""
    lines: list[bytes] = []
    quiet = 0
    while quiet < 2:
        arrival = source.read()
        quiet = quiet + 1 if arrival is None else 0
        lines += arrival.data.splitlines() if arrival else []
    return lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def test_lines_come_once_they_end(path: Path) -> None:
    source = follow(path)
    assert read_all(source) == []
    append(path, b"one\ntw")
    assert read_all(source) == [b"one"]
    append(path, b"o\nthree\n")
    assert read_all(source) == [b"two", b"three"]


def test_what_stood_there_before_counts_only_if_it_is_asked_for(path: Path) -> None:
    append(path, b"old\n")
    late, early = follow(path, from_start=False), follow(path)
    assert (read_all(late), read_all(early)) == ([], [b"old"])
    append(path, b"new\n")
    assert (read_all(late), read_all(early)) == ([b"new"], [b"new"])


def test_a_file_that_comes_later_is_read_from_its_beginning(path: Path) -> None:
    source = follow(path, from_start=False)
    assert read_all(source) == []
    append(path, b"first\n")
    assert read_all(source) == [b"first"]


def test_rotation_loses_no_line_also_of_those_written_just_before(path: Path) -> None:
    source = follow(path)
    append(path, b"one\n")
    assert read_all(source) == [b"one"]
    append(path, b"two\nunended")
    path.rename(path.with_name("log.1"))
    assert read_all(source) == [b"two"]
    append(path.with_name("log.1"), b" line")
    append(path, b"three\n")
    assert read_all(source) == [b"unended line", b"three"]


def test_a_line_that_is_written_between_the_last_look_and_rotation_is_not_lost(path: Path) -> None:
    source = follow(path)
    append(path, b"one\n")
    assert read_all(source) == [b"one"]
    has_been_replaced = source._has_been_replaced

    def meanwhile() -> bool:
        append(path, b"two\n")
        path.rename(path.with_name("log.1"))
        append(path, b"three\n")
        source._has_been_replaced = has_been_replaced  # type: ignore[method-assign]
        return has_been_replaced()

    source._has_been_replaced = meanwhile  # type: ignore[method-assign]
    assert read_all(source) == [b"two", b"three"]


def test_a_truncated_file_is_read_from_its_beginning(path: Path) -> None:
    source = follow(path)
    append(path, b"a long first line\n")
    assert read_all(source) == [b"a long first line"]
    path.write_bytes(b"new\n")
    assert read_all(source) == [b"new"]


def test_after_a_restart_it_goes_on_behind_the_last_line_that_was_computed(path: Path) -> None:
    append(path, b"one\ntwo\n")
    source = follow(path)
    first = source.read()
    assert first is not None
    append(path, b"thr")
    assert source.read() is None
    source.close()
    append(path, b"ee\n")
    assert read_all(follow(path, first.place, from_start=False)) == [b"three"]


def test_after_a_restart_a_file_that_was_rotated_meanwhile_is_read_from_its_beginning(path: Path) -> None:
    append(path, b"one\n")
    source = follow(path)
    first = source.read()
    assert first is not None
    path.rename(path.with_name("log.1"))
    append(path, b"two\n")
    assert read_all(follow(path, first.place, from_start=False)) == [b"two"]


def test_a_place_in_another_file_says_nothing_of_this_one(path: Path) -> None:
    append(path, b"one\n")
    first = follow(path).read()
    assert first is not None
    other = path.with_name("other")
    append(other, b"old\n")
    source = follow(other, first.place, from_start=False)
    assert read_all(source) == []
    append(other, b"new\n")
    assert read_all(source) == [b"new"]


def test_an_endless_line_does_not_fill_the_memory(path: Path) -> None:
    source = follow(path)
    append(path, b"x" * 2_000_000)
    assert read_all(source) == []
    for _ in range(40):
        source.read()
    assert len(source._rest) <= 256 * 1024
    append(path, b"\nwhole\n")
    assert read_all(source)[-1] == b"whole"


@given(st.lists(st.sampled_from(["write", "part", "rotate", "read", "restart"]), max_size=30))
def test_every_line_comes_once_and_in_order_whatever_happens_between(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "log"
    source, place = follow(path), ""
    expected: list[bytes] = []
    found: list[bytes] = []
    is_open_line = False
    for number, step in enumerate(steps):
        if step == "write":
            append(path, b"%d\n" % number)
            expected.append(b"%d" % number if not is_open_line else expected.pop() + b"%d" % number)
            is_open_line = False
        elif step == "part":
            append(path, b"%d-" % number)
            expected.append(b"%d-" % number if not is_open_line else expected.pop() + b"%d-" % number)
            is_open_line = True
        elif step == "rotate" and path.exists() and not is_open_line:
            found += read_all(source)
            path.rename(path.with_name(f"log.{number}"))
            append(path, b"")
        else:
            while (arrival := source.read()) is not None:
                found += arrival.data.splitlines()
                place = arrival.place
            if step == "restart":
                source.close()
                source = follow(path, place)
    append(path, b"end\n")
    expected.append(b"end" if not is_open_line else expected.pop() + b"end")
    assert found + read_all(source) == expected
