"""Labelled examples on the device, one `.npz` a dataset with `x` and `y`. They never leave it."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from pydantic import TypeAdapter, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError
from shoal_contract.ids import NAME_PATTERN, Name

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile
    from numpy.typing import NDArray

_NAME = TypeAdapter(Name)
_NAME_FORM = re.compile(NAME_PATTERN)
_MAX_LABEL = 2**31 - 1
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for files that are no `.npz`, cut off, damaged, or hold objects."""
MAX_DATASET_BYTES = 1024 * 1024 * 1024
MAX_DATASETS = 64
"""As many as the reported state may name."""


class DatasetError(AgentError):
    """A dataset is not there or not of the right form."""

    code = "dataset"
    default_remedy = "add labelled examples with `shoal-agent data add NAME FILE.npz` (arrays x and y)"


class Datasets:
    """The folder `<data>/datasets`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[Path, tuple[int, int, int]] = {}

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
        try:
            replace_file(self.path(name), buffer.getvalue())
        except OSError as error:
            raise DatasetError(
                f"adding dataset {name!r}: {error}", "check the data folder's owner and space"
            ) from error
        return len(y)

    def path(self, name: str) -> Path:
        """Where the dataset lies, if it is there."""
        return self._folder / f"{name}.npz"

    def sizes(self) -> dict[str, int]:
        """Number of labelled examples by dataset, the first MAX_DATASETS; a damaged one counts as empty.

        A file is read again only when it has changed: this is asked for at every report.
        """
        names = [path for path in sorted(self._folder.glob("*.npz")) if _NAME_FORM.fullmatch(path.stem)][:MAX_DATASETS]
        self._sizes = {path: self._size(path) for path in names}
        return {path.stem: count for path, (_, _, count) in self._sizes.items()}

    def _size(self, path: Path) -> tuple[int, int, int]:
        try:
            status = path.stat()
        except OSError:
            return 0, 0, 0  # deleted just now
        known = self._sizes.get(path)
        if known is not None and known[:2] == (status.st_mtime_ns, status.st_size):
            return known
        return status.st_mtime_ns, status.st_size, _count(path)


def _count(path: Path) -> int:
    """Count the labels alone; a round checks all of it."""
    try:
        with path.open("rb") as file, _open(file) as arrays:
            return len(arrays["y"])
    except _UNREADABLE:
        return 0


def _open(file: BinaryIO) -> NpzFile:
    arrays = np.load(file, allow_pickle=False)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError("a single array found")  # noqa: TRY004 - the file is wrong, not the call
    return arrays


def read_examples(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Read x (n, …) float32 and y (n,) int32.

    Raises:
        DatasetError: No such file, no `.npz`, or arrays of another form.
    """
    try:
        if path.stat().st_size > MAX_DATASET_BYTES:
            raise DatasetError(f"reading {path.name}: {path.stat().st_size} bytes, at most {MAX_DATASET_BYTES} allowed")
        with path.open("rb") as file, _open(file) as arrays:
            x, y = arrays["x"], arrays["y"]
    except _UNREADABLE as error:
        raise DatasetError(f"reading {path.name}: no .npz with the arrays x and y: {error}") from error
    if not (x.ndim >= 1 and y.ndim == 1 and len(x) == len(y) > 0 and x.dtype.kind == "f" and y.dtype.kind in "iu"):
        raise _other_form(path, x, y)
    with np.errstate(over="ignore"):
        examples = x.astype(np.float32)
    if not np.isfinite(examples).all() or y.min() < 0 or y.max() > _MAX_LABEL:
        raise _other_form(path, x, y)
    return examples, y.astype(np.int32)


def _other_form(path: Path, x: NDArray[Any], y: NDArray[Any]) -> DatasetError:
    return DatasetError(
        f"reading {path.name}: x {x.dtype} {x.shape} and y {y.dtype} {y.shape} found; expected finite float "
        f"x (n, …) and integer y (n,) from 0 to {_MAX_LABEL}, with n at least 1"
    )
