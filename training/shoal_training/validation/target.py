"""Checks of the column that is learned: whether another one gives it away, and whether each class has rows."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shoal_training.validation.check import Check, Outcome
from shoal_training.validation.column_values import codes_of, family_of, missing_in, named_columns, names_of, numbers_of

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLED_ROWS: Final = 20_000
"""That a column is tried on alone, one half to learn from and the other to be measured on."""
LEAST_ROWS: Final = 100
"""Of fewer only whether columns are the same is said."""
MAX_CLASSES: Final = 50
"""A target of whole numbers with more values is taken to be a quantity."""
LEAVES: Final = 64

Numbers = npt.NDArray[np.float64]


class Leakage(Check):
    """No column gives the target away: none is the same in other words, and none alone predicts it nearly perfectly.

    How well one predicts is measured on rows that it was not tried on: of classes the share of errors that it saves,
    of quantities the share of variance that it explains, by a small decision tree.
    """

    kind: ClassVar[str] = "leakage"

    target: str
    columns: tuple[str, ...] = ()
    """Empty: all others."""
    limit: float = Field(default=0.99, gt=0, le=1)
    """What a column must stay below."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        families: tuple[Any, ...] = ("number", "text", "boolean", "time")
        [(_, target)] = named_columns(table, [self.target], self.kind, families)
        names = self.columns or names_of(table, families, [self.target])
        columns = named_columns(table, names, self.kind, families)
        is_classes = _is_classes(target)
        rows = np.flatnonzero(~missing_in(target))
        drawn = np.random.default_rng(0).permutation(rows)[:SAMPLED_ROWS]
        truth = codes_of(target)[0] if is_classes else numbers_of(target)
        leaking: dict[str, str] = {}
        scores: dict[str, float] = {}
        for name, column in columns:
            if _is_same(column, target):
                leaking[name] = f"{name} is {self.target} in other words"
                continue
            if len(drawn) < LEAST_ROWS or (truth[drawn] == truth[drawn[0]]).all():
                continue
            values = codes_of(column)[0].astype(np.float64) if family_of(column.type) == "text" else numbers_of(column)
            predict = _classes_saved if is_classes else _variance_explained
            scores[name] = predict(values[drawn], truth[drawn], is_text=family_of(column.type) == "text")
            if scores[name] >= self.limit:
                leaking[name] = f"{name} alone predicts {self.target} ({scores[name]:.1%})"
        told = "; ".join(leaking.values())
        message = (
            f"{told}; would it be known before the answer is?" if leaking else f"no column gives {self.target} away"
        )
        facts = {"leaking": list(leaking), "scores": {name: round(score, 4) for name, score in scores.items()}}
        return Outcome(not leaking, message, facts=facts)


class Classes(Check):
    """Each class of the target has rows enough."""

    kind: ClassVar[str] = "classes"

    target: str
    known: tuple[str | int | bool, ...] = ()
    """Classes that must be there; empty: those that are, and those of the version before."""
    min_count: int = Field(default=2, ge=1)
    min_ratio: float = Field(default=0.0, ge=0, lt=1)
    """The least share of the rows."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:
        """See `Check`."""
        [(_, column)] = named_columns(table, [self.target], self.kind, ("text", "number", "boolean"))
        counts = _counts(column)
        known = {str(one): 0 for one in self.known} or _listed(table, self.target)
        if not self.known and before is not None and self.target in before.column_names:
            known |= dict.fromkeys(_counts(named_columns(before, [self.target], self.kind)[0][1]), 0)
        counts = known | counts
        needed = max(self.min_count, self.min_ratio * len(table))
        few = {name: count for name, count in counts.items() if count < needed}
        told = ", ".join(
            f"{name or 'the empty text'} has {count or 'no'} rows" for name, count in list(few.items())[:10]
        )
        if len(counts) < 2:  # noqa: PLR2004 - else there is nothing to tell apart
            told = f"{self.target} has {len(counts)} classes, expected two or more"
        message = f"{told}; at least {needed:g} expected" if few else told or f"{len(counts)} classes have rows enough"
        return Outcome(not told, message, facts={"counts": counts})


def _is_classes(target: "pa.ChunkedArray") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if family_of(target.type) in {"text", "boolean"}:
        return True
    return bool(pa.types.is_integer(target.type) and pc.count_distinct(target).as_py() <= MAX_CLASSES)


def _is_same(column: "pa.ChunkedArray", target: "pa.ChunkedArray") -> bool:
    """Whether each value of one goes with one value of the other, missing ones included, and there are several."""
    first, second = codes_of(column)[0], codes_of(target)[0]
    firsts, seconds = len(np.unique(first)), len(np.unique(second))
    if firsts != seconds or firsts < 2:  # noqa: PLR2004 - a constant is no answer
        return False
    if firsts == len(first):  # as many values as rows, like ids: only the same numbers are the same
        both = {family_of(column.type), family_of(target.type)}
        if both != {"number"}:
            return bool(column.type == target.type and column.equals(target))
        return bool(np.array_equal(numbers_of(column), numbers_of(target), equal_nan=True))
    pairs = (first + 1) * (second.max() + 2) + second + 1
    return len(np.unique(pairs)) == firsts


def _halves(rows: int) -> tuple[slice, slice]:
    return slice(0, rows // 2), slice(rows // 2, rows)


def _classes_saved(values: Numbers, truth: npt.NDArray[np.int64], *, is_text: bool) -> float:
    """Return the share of the errors of always saying the most frequent class that knowing the column saves."""
    from sklearn.tree import DecisionTreeClassifier

    learn, test = _halves(len(values))
    usual = np.bincount(truth[learn]).argmax()
    errors = float((truth[test] != usual).mean())
    if errors == 0:
        return 0.0
    if is_text:
        told = _told_by_text(values, truth, learn, usual)
    else:
        tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=0)
        told = tree.fit(_finite(values[learn]), truth[learn]).predict(_finite(values[test]))
    return 1.0 - float((truth[test] != told).mean()) / errors


def _told_by_text(codes: Numbers, truth: npt.NDArray[np.int64], learn: slice, usual: np.int64) -> npt.NDArray[np.int64]:
    """Return for the rows not learned from the most frequent class of their text, (rows,)."""
    places, classes = codes.astype(np.int64) + 1, int(truth.max()) + 1
    seen = places[learn]
    numbered, back = np.unique(seen, return_inverse=True)
    counts = np.bincount(back * classes + truth[learn], minlength=len(numbered) * classes).reshape(-1, classes)
    told = np.full(int(places.max()) + 1, usual, dtype=np.int64)
    told[numbered] = counts.argmax(axis=1)
    return told[places[learn.stop :]]


def _variance_explained(values: Numbers, truth: Numbers, *, is_text: bool) -> float:
    """Return R² on rows not learned from, by a tree or by a line, whichever is more."""
    from sklearn.tree import DecisionTreeRegressor

    is_known = np.isfinite(truth)
    values, truth = values[is_known], truth[is_known]
    learn, test = _halves(len(values))
    spread = float(((truth[test] - truth[test].mean()) ** 2).sum())
    if spread == 0:
        return 0.0
    tree = DecisionTreeRegressor(max_leaf_nodes=LEAVES, random_state=0)
    told = tree.fit(_finite(values[learn]), truth[learn]).predict(_finite(values[test]))
    found = 1.0 - float(((truth[test] - told) ** 2).sum()) / spread
    usable = np.isfinite(values)
    if not is_text and usable.all() and values.std() > 0:
        found = max(found, float(np.corrcoef(values, truth)[0, 1] ** 2))
    return found


def _finite(values: Numbers) -> npt.NDArray[np.float32]:
    """Return a column as a tree takes it: (rows, 1), what is missing or infinite far below all else."""
    limits = np.finfo(np.float32)
    bounded = np.clip(np.nan_to_num(values, nan=float(limits.min)), limits.min, limits.max)
    return bounded.astype(np.float32).reshape(-1, 1)


def _counts(column: "pa.ChunkedArray") -> dict[str, int]:
    import pyarrow.compute as pc

    found = pc.value_counts(column.drop_null()).to_pylist()
    return {str(one["values"]): int(one["counts"]) for one in found}


def _listed(table: "pa.Table", name: str) -> dict[str, Literal[0]]:
    """Return the classes that a column of a dictionary lists, whether or not a row has them."""
    import pyarrow as pa

    column = table[name]
    if not pa.types.is_dictionary(column.type):
        return {}
    return {str(one): 0 for chunk in column.chunks for one in chunk.dictionary.to_pylist()}
