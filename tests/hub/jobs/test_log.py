"""The log of a job: bounded on disk, and read by its place in the stream while it is written."""

import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.jobs.log import BoundedLog, read_log, read_tail


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("log*"))


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=40))
def test_what_is_kept_is_the_end_of_what_was_written_at_its_place(blocks: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, whole = Path(name), b"".join(blocks)
        with closing(BoundedLog(folder, 400)) as log:
            for block in blocks:
                log.write(block)
                assert size_of(folder) <= 400
        kept = read_log(folder, 0, 10_000)
        assert kept.data == whole[kept.offset :]
        assert len(kept.data) >= min(len(whole), 200), "half of the bound stays at least"
        for offset in range(kept.offset, len(whole), 37):
            part = read_log(folder, offset, 50)
            assert (part.offset, part.data) == (offset, whole[offset : offset + 50])
        assert read_tail(folder, 60) == whole[-60:].decode(errors="replace")


def test_a_log_that_is_begun_again_goes_on_where_it_was(tmp_path: Path) -> None:
    for text in (b"first ", b"second"):
        with closing(BoundedLog(tmp_path, 400)) as log:
            log.write(text)
    assert read_log(tmp_path, 3, 100) == (3, b"st second")


def test_a_reader_whose_place_is_kept_no_longer_goes_on_with_what_is(tmp_path: Path) -> None:
    with closing(BoundedLog(tmp_path, 400)) as log:
        log.write(bytes(1000))
    part = read_log(tmp_path, 10, 5)
    assert part.offset > 10
    assert read_log(tmp_path, 1000, 5) == (1000, b""), "there is nothing new"


def test_a_log_that_was_not_begun_is_empty(tmp_path: Path) -> None:
    assert read_log(tmp_path, 0, 100) == (0, b"")
    assert read_tail(tmp_path, 100) == ""


def test_what_a_full_disk_does_not_take_is_told_of_once_it_takes_something_again(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, closing(BoundedLog(tmp_path, 400)) as log:
        log.write(b"before")
        disk, log._file = log._file, full
        log.write(b"lost ")
        log.write(b"too")
        log._file = disk
        log.write(b"after")
    told = "\n… 8 bytes of output were lost: the disk took no more\n".encode()
    assert read_log(tmp_path, 0, 400).data == b"before" + told + b"after"


def test_a_log_whose_next_file_could_not_be_made_goes_on(tmp_path: Path) -> None:
    with closing(BoundedLog(tmp_path, 400)) as log:
        log.write(b"x" * 99)
        (tmp_path / "log").rename(tmp_path / "log.00000000000000000000")
        log.write(b"yz")
        log.write(b"after")
    assert read_log(tmp_path, 0, 400).data == b"x" * 99 + b"yz" + b"after"
