"""A step that does not fit the memory says so before it begins."""

from pathlib import Path

import pytest

from shoal_compression.errors import TechniqueError
from shoal_compression.memory_needed import available_bytes, check_memory

GIB = 1 << 30


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    """Give what Linux tells of a machine with 4 GiB of which half can be had."""
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {4 * GIB // 1024} kB\nMemAvailable:    {2 * GIB // 1024} kB\n")
    return path


def test_a_step_that_does_not_fit_names_what_it_needs_and_what_there_is(meminfo: Path) -> None:
    with pytest.raises(
        TechniqueError, match=r"float16: about 4\.0 GiB .* file of 1\.00 GiB, 2\.0 GiB are available; end"
    ):
        check_memory(GIB, "applying float16", trains=False, meminfo=meminfo)


def test_training_takes_more_than_writing(meminfo: Path) -> None:
    check_memory(GIB // 3, "applying float16", trains=False, meminfo=meminfo)
    with pytest.raises(TechniqueError, match="about 3"):
        check_memory(GIB // 3, "applying distil", trains=True, meminfo=meminfo)


def test_where_it_is_not_told_every_step_is_tried(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none") is None
    check_memory(1 << 60, "applying float16", trains=True, meminfo=tmp_path / "none")
