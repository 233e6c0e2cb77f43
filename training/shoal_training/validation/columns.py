"""Checks of the values of single columns."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.validation.check import Check, Outcome

if TYPE_CHECKING:
    import pyarrow as pa


class NotNull(Check):
    """Columns hold a value in each row."""

    kind: ClassVar[str] = "not_null"

    columns: tuple[str, ...] = Field(min_length=1)

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        missing = [name for name in self.columns if name not in table.column_names]
        if missing:
            raise DataError(f"checking {self.kind}: there is no column {', '.join(missing)}; name one of the table's")
        is_bad = np.zeros(len(table), dtype=np.bool_)
        for name in self.columns:
            is_bad |= table[name].is_null().to_numpy()
        count = int(is_bad.sum())
        message = f"{count} of {len(table)} rows have no {' or '.join(self.columns)}"
        return Outcome(count <= self.tolerated_ratio * len(table), message, is_bad)
