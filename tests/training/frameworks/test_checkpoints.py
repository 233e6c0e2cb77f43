"""A checkpoint is there as a whole or not at all, whatever happens while it is written."""

import resource
from pathlib import Path

import numpy as np
import pytest

from shoal_compression.errors import OutputError
from shoal_training.errors import DataError
from shoal_training.frameworks.checkpoints import CHECKPOINT_FILE, Standing, read_checkpoint, write_checkpoint
from shoal_training.frameworks.early_stopping import Watch

STANDING = Standing(training="a", epoch=3, watch=Watch(best=0.1, best_at=2), history={"loss": [(1, 0.5), (2, 0.1)]})
ARRAYS = {
    "scalar": np.asarray(3.5),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "whole": np.array([1, 2**40], dtype=np.int64),
}


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STANDING, ARRAYS)
    found = read_checkpoint(tmp_path, "a")
    assert found is not None
    assert found.standing == STANDING
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]


def test_where_there_is_none_training_begins(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, "a") is None


def test_a_full_disk_leaves_the_one_before(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STANDING, ARRAYS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match="name a folder that can be written, with room"):
            write_checkpoint(tmp_path, STANDING, {"large": np.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = read_checkpoint(tmp_path, "a")
    assert found is not None
    assert set(found.arrays) == set(ARRAYS)


def test_one_of_another_training_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STANDING, ARRAYS)
    with pytest.raises(DataError, match="it is of another training"):
        read_checkpoint(tmp_path, "b")
