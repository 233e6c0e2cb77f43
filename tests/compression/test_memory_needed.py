"""A step that does not fit the memory says so before it begins."""

from pathlib import Path

import pytest

from shoal_compression.errors import TechniqueError
from shoal_compression.memory_needed import available_bytes, check_memory
from shoal_compression.techniques.distil.distil import Distil
from shoal_compression.techniques.float16 import Float16
from shoal_compression.techniques.quantize.static import Int8Static

GIB = 1 << 30


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    """Give what Linux tells of a machine with 4 GiB of which half can be had."""
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {4 * GIB // 1024} kB\nMemAvailable:    {2 * GIB // 1024} kB\n")
    return path


def test_a_step_that_does_not_fit_names_what_it_needs_and_what_there_is(meminfo: Path) -> None:
    said = r"float16: about 4\.0 GiB of .* file of 1\.00 GiB, 2\.0 GiB are available; end other programs"
    with pytest.raises(TechniqueError, match=said):
        check_memory(GIB, 4, "applying float16", meminfo)
    check_memory(GIB, 2, "applying float16", meminfo)


def test_training_takes_more_than_computing_and_that_more_than_writing() -> None:
    copies = [one._copies for one in (Distil(), Int8Static(), Float16())]
    assert copies == sorted(copies, reverse=True)
    assert len(set(copies)) == 3


def test_where_it_is_not_told_every_step_is_tried(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none") is None
    check_memory(1 << 60, 9, "applying distil", tmp_path / "none")
