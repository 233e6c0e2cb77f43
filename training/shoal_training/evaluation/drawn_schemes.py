"""Schemes that draw rows: a share of them, or each row once in k folds; of each class the same share."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.evaluation.scheme import MAX_FOLDS, Fold, Rows, Scheme, class_codes, sorted_fold

if TYPE_CHECKING:
    import pyarrow as pa


class HoldOut(Scheme):
    """A share of the rows, drawn at random; of each class the same share."""

    kind: ClassVar[str] = "holdout"

    test_ratio: float = Field(default=0.2, gt=0, lt=1)

    def folds(self, table: "pa.Table", target: str | None, seed: int, folder: Path = Path()) -> tuple[Fold, ...]:  # noqa: ARG002 - see `Scheme`
        """See `Scheme`."""
        random = np.random.default_rng(seed)
        count = len(table)
        if count < 2:  # noqa: PLR2004 - one to learn from, one to look at
            raise DataError(f"holding rows out: {count} rows found, expected 2 or more")
        test = np.zeros(count, dtype=np.bool_)
        for members in _classes(table, target):
            drawn = random.permutation(members)
            test[drawn[: min(round(len(drawn) * self.test_ratio), len(drawn) - 1)]] = True
        if not test.any():
            test[random.integers(count)] = True
        return (Fold(np.flatnonzero(~test), np.flatnonzero(test)),)


class KFold(Scheme):
    """Each row is held out once, in one of k folds; of each class as many in each."""

    kind: ClassVar[str] = "k_fold"

    folds_count: int = Field(default=5, ge=2, le=MAX_FOLDS, alias="folds")
    is_stratified: bool = True
    """Whether classes are spread evenly; a target of other numbers has none."""

    def folds(self, table: "pa.Table", target: str | None, seed: int, folder: Path = Path()) -> tuple[Fold, ...]:  # noqa: ARG002 - see `Scheme`
        """See `Scheme`."""
        from sklearn.model_selection import KFold as Plain
        from sklearn.model_selection import StratifiedKFold

        if len(table) < self.folds_count:
            raise DataError(
                f"parting rows into {self.folds_count} folds: {len(table)} rows found; bring more, or fewer folds"
            )
        codes, names = class_codes(table, target) if self.is_stratified else (None, ())
        if codes is None:
            parts = Plain(self.folds_count, shuffle=True, random_state=seed).split(np.zeros(len(table)))
            return tuple(sorted_fold(train, test) for train, test in parts)
        counts = np.bincount(codes)
        small = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < self.folds_count]
        if small:
            raise DataError(
                f"parting rows into {self.folds_count} folds: fewer rows have the class {', '.join(small[:8])}"
                "; bring more rows of it, leave it out, ask for fewer folds, or say `is_stratified: false`"
            )
        parts = StratifiedKFold(self.folds_count, shuffle=True, random_state=seed).split(codes, codes)
        return tuple(sorted_fold(train, test) for train, test in parts)


def _classes(table: "pa.Table", target: str | None) -> list[Rows]:
    """Return the rows of each class of a target of whole numbers or texts; all together where there is none."""
    codes, names = class_codes(table, target)
    if codes is None:
        return [np.arange(len(table))]
    return [np.flatnonzero(codes == code) for code in range(len(names))]
