"""NumPy's .npz: an array a column, rows along the first axis; arrays of more axes become columns of tensors.

Rows are read from the archive some at a time; only arrays in Fortran's order have to be read whole.
"""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from shoal_training.errors import DataError
from shoal_training.ingestion.formats.form import FileReading, Form, is_damage
from shoal_training.ingestion.schemas import conform
from shoal_training.ingestion.tensors import tensor_array, tensor_type

if TYPE_CHECKING:
    import pyarrow as pa

_DAMAGE: Final = (ValueError, EOFError, OSError, KeyError, zlib.error, zipfile.BadZipFile, NotImplementedError)
_KINDS: Final = "biufUSM"
"""Of NumPy's types, those that Arrow has; objects would be pickles."""


class NpzForm(Form):
    """See the module."""

    def schema_of(self, file: IO[bytes], about: FileReading) -> "pa.Schema":  # noqa: ARG002 - it says so itself
        """See `Form`."""
        with zipfile.ZipFile(file) as archive:
            return _schema(_opened(archive))

    def tables(self, file: IO[bytes], about: FileReading) -> Iterator["pa.Table"]:
        """See `Form`."""
        import pyarrow as pa

        done = 0
        try:
            with zipfile.ZipFile(file) as archive:
                arrays = _opened(archive)
                own = _schema(arrays)
                target = about.target(own)
                if target is None:
                    return
                total, at_once = arrays[0].rows, about.rows_at_once(own)
                while done < total:
                    count = min(at_once, total - done)
                    table = pa.table([_column(one.read(count)) for one in arrays], schema=own)
                    done += count
                    yield conform(table, target)
        except DataError as error:
            about.refuse(None, str(error))
        except _DAMAGE as error:
            if not is_damage(error):
                raise
            told = f"{str(error) or type(error).__name__}; the rows from here on are damaged, write it again"
            about.refuse(done + 1 if done else None, told)


@dataclass
class _StoredArray:
    """One array of an archive, read from its first row on."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: IO[bytes]
    whole: npt.NDArray[Any] | None
    """In Fortran's order, which has no rows one after the other."""
    done: int = 0

    @property
    def rows(self) -> int:
        """Along the first axis."""
        return self.shape[0]

    def read(self, count: int) -> npt.NDArray[Any]:
        """Read the next rows, (count, …).

        Raises:
            EOFError: The archive ends within.
        """
        self.done += count
        if self.whole is not None:
            return self.whole[self.done - count : self.done]
        size = count * int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        data = self.stream.read(size)
        if len(data) != size:
            raise EOFError(f"the array {self.name} ends within its rows")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


def _opened(archive: zipfile.ZipFile) -> list[_StoredArray]:
    """Return the arrays of an archive.

    Raises:
        DataError: They are no columns of the same rows.
    """
    arrays = [_open(archive, member) for member in archive.namelist()]
    rows = {one.name: one.shape[0] if one.shape else None for one in arrays}
    if not arrays or None in rows.values() or len(set(rows.values())) > 1:
        found = ", ".join(f"{name} {count if count is not None else 'without an axis'}" for name, count in rows.items())
        raise DataError(f"arrays of the same number of rows expected, {found or 'none'} found; write them so")
    return arrays


def _open(archive: zipfile.ZipFile, member: str) -> _StoredArray:
    from numpy.lib import format as npy

    stream = archive.open(member)
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    name = member.removesuffix(".npy")
    if dtype.kind not in _KINDS:
        raise DataError(f"the array {name} holds {dtype}, numbers, text or times expected; write it as one of them")
    whole = None
    if is_fortran and len(shape) > 1:
        whole = np.frombuffer(stream.read(), dtype).reshape(shape[::-1]).T
    return _StoredArray(name, shape, dtype, stream, whole)


def _schema(arrays: list[_StoredArray]) -> "pa.Schema":
    import pyarrow as pa

    def kind(one: _StoredArray) -> "pa.DataType":
        native = one.dtype.newbyteorder("=")
        value = pa.array(np.empty(0, native)).type if one.dtype.kind not in "US" else pa.string()
        return value if len(one.shape) == 1 else tensor_type(value, one.shape[1:])

    return pa.schema([(one.name, kind(one)) for one in arrays])


def _column(values: npt.NDArray[Any]) -> "pa.Array":
    import pyarrow as pa

    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    return tensor_array(values) if values.ndim > 1 else pa.array(values)
