"""What a scheme of validation is: a few fields that say which rows are learned from and which are held out.

A scheme is data, from a pipeline file. Its kinds are in `schemes`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shoal_compression.values import Value
from shoal_training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Rows = NDArray[np.int64]
Column = Annotated[str, Field(min_length=1, max_length=256)]
MAX_FOLDS = 50
_MOST_NAMED = 8


class Fold(NamedTuple):
    """One way to part the rows: places of those that are learned from, and of those held out, rising."""

    train: Rows
    test: Rows


class Scheme(Value, ABC):
    """A scheme of validation. The first fold is the one whose model is kept; others say how sure its figures are."""

    kind: ClassVar[str]

    @abstractmethod
    def folds(self, table: "pa.Table", target: str | None, seed: int, folder: Path = Path()) -> tuple[Fold, ...]:
        """Part the rows.

        Args:
            table: All rows.
            target: The column that is learned, for parts that are alike in it; None: there is none.
            seed: Of what is drawn.
            folder: That paths are relative to: the pipeline file's.

        Raises:
            DataError: There are too few rows, or no such column.
        """

    def columns(self) -> tuple[str, ...]:
        """Return the columns that part the rows: they are learned from only where the inputs name them."""
        return ()

    def decided_by(self, folder: Path) -> Any:  # noqa: ANN401, ARG002 - what JSON has; for schemes that read files
        """Return what decides the parts besides the fields, the rows and the seed, such as the hash of a file.

        Raises:
            DataError: A file can not be read.
        """
        return None


def checked_folds(
    scheme: Scheme, table: "pa.Table", target: str | None, seed: int, folder: Path = Path()
) -> tuple[Fold, ...]:
    """Part the rows by a scheme, and see that something can be learned and measured in each fold.

    Args:
        scheme: Parts them.
        table: All rows.
        target: The column of classes; None: none is learned.
        seed: Of what is drawn.
        folder: The pipeline file's.

    Raises:
        DataError: A side is empty, or a class is held out that nothing is learned of.
    """
    folds = scheme.folds(table, target, seed, folder)
    for number, fold in enumerate(folds, 1):
        where = f"parting rows by {scheme.kind}, fold {number} of {len(folds)}"
        if not len(fold.train) or not len(fold.test):
            raise DataError(
                f"{where}: {len(fold.train)} rows are left to learn from and {len(fold.test)} to measure on, expected "
                "1 or more of each; bring more rows, or choose another share or fewer folds"
            )
        if target is not None:
            _check_classes(table, target, fold, where)
    return folds


def _check_classes(table: "pa.Table", target: str, fold: Fold, where: str) -> None:
    codes, names = class_codes(table, target)
    if codes is None:
        return
    empty = np.setdiff1d(codes[fold.test], codes[fold.train])
    if len(empty):
        named = ", ".join(str(names[code]) for code in empty[:_MOST_NAMED])
        raise DataError(
            f"{where}: the class {named} of {target} is held out and has no row to learn from; bring more rows of it, "
            "leave it out, or choose a scheme that keeps classes on both sides"
        )


def class_codes(table: "pa.Table", target: str | None) -> tuple[Rows | None, Sequence[str]]:
    """Return the class of each row as a place among the classes, of a target of whole numbers, texts or truth values.

    Returns:
        (None, ()) where there is no target, or it holds other numbers.
    """
    import pyarrow as pa

    if target is None:
        return None, ()
    found = column_of(table, target, "parting rows")
    if not (pa.types.is_integer(found.type) or pa.types.is_string(found.type) or pa.types.is_boolean(found.type)):
        return None, ()
    values = found.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False).astype(str)
    names, codes = np.unique(values, return_inverse=True)
    return np.asarray(codes, dtype=np.int64), [str(name) for name in names]


def column_of(table: "pa.Table", name: str, doing: str) -> "pa.ChunkedArray":
    """Return a column.

    Raises:
        DataError: There is none of this name.
    """
    if name not in table.column_names:
        raise DataError(f"{doing}: there is no column {name}; the table has {', '.join(table.column_names)}")
    return table[name]


def sorted_fold(train: Rows, test: Rows) -> Fold:
    """Return a fold of places in any order."""
    return Fold(np.sort(train).astype(np.int64), np.sort(test).astype(np.int64))
