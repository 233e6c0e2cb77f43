"""Holds whole entities out, so that nothing is measured on rows of a device, person or site that was learned from."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.evaluation.scheme import MAX_FOLDS, Column, Fold, Scheme, class_codes, column_of, sorted_fold

if TYPE_CHECKING:
    import pyarrow as pa


class Grouped(Scheme):
    """No entity on both sides: a share of the entities is held out, or each of them once in k folds."""

    kind: ClassVar[str] = "group"

    column: Column
    """Names the entity of a row."""
    test_ratio: float = Field(default=0.2, gt=0, lt=1)
    """Share of the entities, where there is one fold."""
    folds_count: int = Field(default=1, ge=1, le=MAX_FOLDS, alias="folds")

    def columns(self) -> tuple[str, ...]:
        """See `Scheme`."""
        return (self.column,)

    def folds(self, table: "pa.Table", target: str | None, seed: int, folder: Path = Path()) -> tuple[Fold, ...]:  # noqa: ARG002 - see `Scheme`
        """See `Scheme`."""
        from sklearn.model_selection import GroupKFold, GroupShuffleSplit, StratifiedGroupKFold

        entities = _entities(table, self.column)
        found, least = len(np.unique(entities)), max(2, self.folds_count)
        if found < least:
            raise DataError(
                f"holding entities out: the column {self.column} has {found} of them, expected {least} or more; bring "
                "more, or name another column"
            )
        codes, _ = class_codes(table, target)
        if self.folds_count == 1:
            splitter = GroupShuffleSplit(1, test_size=self.test_ratio, random_state=seed)
        elif codes is None:
            splitter = GroupKFold(self.folds_count, shuffle=True, random_state=seed)
        else:
            splitter = StratifiedGroupKFold(self.folds_count, shuffle=True, random_state=seed)
        try:
            parts = list(splitter.split(entities, codes, entities))
        except ValueError as error:
            raise DataError(f"holding entities of {self.column} out: {error}; ask for fewer folds") from error
        return tuple(sorted_fold(train, test) for train, test in parts)


def _entities(table: "pa.Table", name: str) -> np.ndarray:
    import pyarrow as pa

    column = column_of(table, name, "holding entities out")
    if column.null_count:
        raise DataError(
            f"holding entities out: {column.null_count} rows have no {name}, so that it is unknown on which side they "
            "belong; check `not_null` with the action `quarantine`"
        )
    values = column.cast(pa.string()).to_numpy(zero_copy_only=False).astype(str)
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)
