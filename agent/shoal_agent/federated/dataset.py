"""Labelled examples on the device, one `.npz` a dataset with `x` and `y`. They never leave it."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError
from shoal_contract.ids import Name

_NAME = TypeAdapter(Name)
MAX_DATASET_BYTES = 1024 * 1024 * 1024


class DatasetError(AgentError):
    """A dataset is not there or not of the right form."""

    code = "dataset"
    default_remedy = "add labelled examples with `shoal-agent data add NAME FILE.npz` (arrays x and y)"


class Datasets:
    """The folder `<data>/datasets`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, source: Path) -> int:
        """Copy labelled examples in, replacing the dataset of that name; return how many there are.

        Args:
            name: The dataset's name, as federated runs ask for it.
            source: An `.npz` with x (n, …) float32, finite, and y (n,) integer labels, not negative.

        Raises:
            DatasetError: The name or the file has another form.
        """
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            raise DatasetError(f"adding dataset {name!r}: {error.errors()[0]['msg']}") from error
        x, y = read_examples(source)
        buffer = io.BytesIO()
        np.savez(buffer, x=x, y=y)
        replace_file(self.path(name), buffer.getvalue())
        return len(y)

    def path(self, name: str) -> Path:
        """Where the dataset lies, if it is there."""
        return self._folder / f"{name}.npz"

    def sizes(self) -> dict[str, int]:
        """Number of labelled examples by dataset; a damaged one counts as empty."""
        return {path.stem: _size(path) for path in sorted(self._folder.glob("*.npz"))}


def _size(path: Path) -> int:
    try:
        return len(read_examples(path)[1])
    except DatasetError:
        return 0


def read_examples(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Read x (n, …) float32 and y (n,) int32.

    Raises:
        DatasetError: No such file, no `.npz`, or arrays of another form.
    """
    try:
        if path.stat().st_size > MAX_DATASET_BYTES:
            raise DatasetError(f"reading {path.name}: {path.stat().st_size} bytes, at most {MAX_DATASET_BYTES} allowed")
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"reading {path.name}: {error}") from error
    is_sound = (
        x.ndim >= 1 and y.ndim == 1 and len(x) == len(y) > 0 and x.dtype.kind == "f" and y.dtype.kind in "iu"
    )  # fmt: skip
    if not is_sound or not np.isfinite(x).all() or (y < 0).any():
        message = (
            f"reading {path.name}: x {x.dtype} {x.shape} and y {y.dtype} {y.shape} found; expected finite float "
            "x (n, …) and non-negative integer y (n,), with n at least 1"
        )
        raise DatasetError(message)
    return x.astype(np.float32), y.astype(np.int32)
