"""What checks of the values of single columns have in common: the columns, each looked at by itself."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from shoal_training.validation.check import Check, Mask, Outcome
from shoal_training.validation.column_values import Family, named_columns
from shoal_training.validation.side_by_side import side_by_side

if TYPE_CHECKING:
    import pyarrow as pa


class ColumnCheck(Check):
    """Something that must hold for the values of columns. Subclasses look at one column."""

    families: ClassVar[tuple[Family, ...] | None] = None
    """What the columns have to hold; None: anything."""

    columns: tuple[str, ...] = Field(min_length=1)

    @abstractmethod
    def look(self, name: str, column: "pa.ChunkedArray") -> dict[str, Mask]:
        """Return why rows of a column are bad, and which; see `Check.judged`.

        Raises:
            DataError: It can not be examined.
        """

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        columns = named_columns(table, self.columns, self.kind, self.families)
        reasons: dict[str, Mask] = {}
        for found in side_by_side(lambda named: self.look(*named), columns, len(table)):
            reasons |= found
        return self.judged(len(table), reasons)
