"""What unfinished training keeps on disk: one file, replaced as a whole, so a kill at any point leaves the last one.

Arrays lie in safetensors: data, no code. What they stand for is each engine's.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from shoal_compression.output_folder import held_alone, make_folder, says_unwritable
from shoal_compression.values import Record
from shoal_training.errors import DataError
from shoal_training.frameworks.early_stopping import Watch
from shoal_training.frameworks.trainer import Samples
from shoal_training.onnx_samples import Array

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
_STANDING: Final = "standing"


class Standing(Record):
    """How far training is."""

    training: str
    """Hash of what is trained, by what and on what."""
    processes: int = 1
    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Steps of the next one that are done."""
    loss_sum: float = 0.0
    """Over these steps, and what they weigh together."""
    loss_weight: float = 0.0
    watch: Watch = Watch()
    history: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)
    """What was measured so far, by name: epochs and values."""
    is_finished: bool = False


class Checkpoint(NamedTuple):
    """A standing and the arrays that go with it."""

    standing: Standing
    arrays: dict[str, Array]


def write_checkpoint(folder: Path, standing: Standing, arrays: Mapping[str, Array]) -> None:
    """Replace the checkpoint in a folder.

    Raises:
        OutputError: The folder can not be written, or the disk is full; the checkpoint before is as it was.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    new = folder / f".{CHECKPOINT_FILE}"
    with says_unwritable(folder):
        try:
            plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
            save_file(plain, new, {_STANDING: standing.model_dump_json()})
        except SafetensorError as error:  # it says so where a disk is full
            raise OSError(str(error)) from error
        _sync(new)
        new.replace(folder / CHECKPOINT_FILE)
        _sync(folder)


def read_checkpoint(folder: Path, training: str) -> Checkpoint | None:
    """Read the checkpoint of a training; None: there is none.

    Raises:
        DataError: It is damaged, or of another training.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            standing = Standing.model_validate_json((file.metadata() or {})[_STANDING])
            if standing.training != training:
                raise DataError(
                    f"going on with {path}: it is of another training (other fields, data or seed); "
                    "name another folder, or remove the file"
                )
            return Checkpoint(standing, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise DataError(f"going on with {path}: {error}; remove the file, and train again") from error


@contextmanager
def held_for_training(folder: Path) -> Iterator[None]:
    """Make a folder for checkpoints, and hold it against other processes that would train in it.

    Raises:
        DataError: Another one does.
        OutputError: It can not be written.
    """
    make_folder(folder)
    with held_alone(folder) as is_alone:
        if not is_alone:
            raise DataError(f"training in {folder}: another process does; wait for it, or end it")
        yield


def fingerprint(samples: Samples) -> str:
    """Return a hash of samples, without another copy of them."""
    digest = hashlib.sha256()
    for array in samples:
        if array is not None:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
