"""Which rows are learned from and which are held out: schemes of validation, as a pipeline file names them."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny

from shoal_compression.values import Value
from shoal_training.errors import DataError
from shoal_training.named_kinds import by_kind

if TYPE_CHECKING:
    import pyarrow as pa

Rows = NDArray[np.int64]


class Fold(NamedTuple):
    """One way to part the rows: places of those that are learned from, and of those held out, rising."""

    train: Rows
    test: Rows


class Scheme(Value, ABC):
    """A scheme of validation. The model of the first fold is kept; further ones say how sure its figures are."""

    kind: ClassVar[str]

    @abstractmethod
    def folds(self, table: "pa.Table", target: str | None, seed: int) -> tuple[Fold, ...]:
        """Part the rows.

        Args:
            table: All rows.
            target: The column that is learned, for parts that are alike in it; None: there is none.
            seed: Of what is drawn.

        Raises:
            DataError: There are too few rows, or no such column.
        """


class HoldOut(Scheme):
    """A share of the rows, drawn at random; of each class the same share."""

    kind: ClassVar[str] = "holdout"

    test_ratio: float = Field(default=0.2, gt=0, lt=1)

    def folds(self, table: "pa.Table", target: str | None, seed: int) -> tuple[Fold, ...]:
        """See `Scheme`."""
        random = np.random.default_rng(seed)
        count = len(table)
        if count < 2:  # noqa: PLR2004 - one to learn from, one to look at
            raise DataError(f"holding rows out: {count} rows found, expected 2 or more")
        test = np.zeros(count, dtype=np.bool_)
        for members in _classes(table, target):
            drawn = random.permutation(members)
            test[drawn[: round(len(drawn) * self.test_ratio)]] = True
        if not test.any():
            test[random.integers(count)] = True
        return (Fold(np.flatnonzero(~test), np.flatnonzero(test)),)


def _classes(table: "pa.Table", target: str | None) -> list[Rows]:
    """Return the rows of each class of a target of whole numbers or texts; all together where there is none."""
    import pyarrow as pa

    if target is None or not (pa.types.is_integer(table[target].type) or pa.types.is_string(table[target].type)):
        return [np.arange(len(table))]
    codes = np.unique(table[target].to_numpy().astype(str), return_inverse=True)[1]
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


BY_KIND: Final[dict[str, type[Scheme]]] = {one.kind: one for one in (HoldOut,)}

AnyScheme = Annotated[SerializeAsAny[Scheme], BeforeValidator(by_kind("scheme", BY_KIND, field="scheme"))]
"""A scheme with its fields; in a file a mapping whose `scheme` names it, or the name alone."""
