"""What a search asks of the database: each comparison as a condition with its values as parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from sqlalchemy import Select, cast, exists, literal, null, select
from sqlalchemy import Text as SqlText
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlmodel import col

from shoal_hub.tracking.filters import Comparison, FilterError, Named, Order, Value
from shoal_hub.tracking.tables import Dataset, LatestMetric, RunInput, TagKind, TrackingParam, TrackingTag

Column = SQLCoreOperations[Any]
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Column]]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_TEXT_ONLY: Final = frozenset({"LIKE", "ILIKE", "IN", "NOT IN"})
_PROMPT: Final = "mlflow.prompt.is_prompt"
"""The client asks for what is none by `!=`, and means what has no such tag as well."""


@dataclass(frozen=True)
class Searched:
    """One kind of thing that can be searched.

    Attributes:
        kind: Under which its tags are kept.
        owner: The column, or what is made of several, that tags, parameters and metrics name it by.
        attributes: Its columns by the words of searches; of numbers, unless they are of text.
        has_values: Whether it has parameters and metrics.
        has_inputs: Whether data sets go into it.
    """

    kind: TagKind
    owner: Column
    attributes: Mapping[str, Column]
    numeric: frozenset[str] = field(default_factory=frozenset)
    has_values: bool = False
    has_inputs: bool = False


def conditions(searched: Searched, comparisons: Sequence[Comparison], *, dialect: str) -> list[Column]:
    """Return the conditions that all have to hold.

    Raises:
        FilterError: A comparison is of something that there is none of here, or with a value of another kind.
    """
    return [_condition(searched, one, dialect) for one in comparisons]


def orders(searched: Searched, keys: Sequence[Order]) -> list[Column]:
    """Return what a list is ordered by: what lacks the value comes last, NaN before it.

    Raises:
        FilterError: A key names nothing to order by.
    """
    return [part for one in keys for part in _order(searched, one)]


def _condition(searched: Searched, one: Comparison, dialect: str) -> Column:
    if one.of.entity == "attribute":
        column, is_number = _attribute(searched, one.of)
        return _compared(column, one, dialect, is_number=is_number)
    if one.of.entity == "dataset":
        return _of_dataset(searched, one, dialect)
    rows, value, is_number = _rows_of(searched, one.of)
    if one.operator in {"IS NULL", "IS NOT NULL"}:
        there = exists(rows)
        return ~there if one.operator == "IS NULL" else there
    holds = exists(rows.where(_compared(value, one, dialect, is_number=is_number)))
    if one.of.key == _PROMPT and one.operator == "!=":
        return holds | ~exists(rows)
    return holds


def _rows_of(searched: Searched, of: Named) -> tuple[Select[Any], Column, bool]:
    """Return the rows that give the thing a value of this name, the value, and whether it is a number."""
    if of.entity == "tag":
        tag = TrackingTag
        mine = (col(tag.kind) == searched.kind, col(tag.owner) == searched.owner, col(tag.key) == of.key)
        return select(literal(1)).where(*mine), col(tag.value), False
    if not searched.has_values:
        raise FilterError(f"reading the filter: there are no {of.entity}s to search by here", "use attributes or tags")
    if of.entity == "param":
        rows = select(literal(1)).where(col(TrackingParam.owner) == searched.owner, col(TrackingParam.key) == of.key)
        return rows, col(TrackingParam.value), False
    metric = LatestMetric
    mine = (col(metric.owner) == searched.owner, col(metric.key) == of.key, col(metric.is_nan).is_(False))
    return select(literal(1)).where(*mine), col(metric.value), True


def _of_dataset(searched: Searched, one: Comparison, dialect: str) -> Column:
    columns = {"name": col(Dataset.name), "digest": col(Dataset.digest), "context": col(RunInput.context)}
    column = columns.get(one.of.key)
    if not searched.has_inputs or column is None:
        known = ", ".join(f"dataset.{name}" for name in columns)
        raise FilterError(
            f"reading the filter: no dataset.{one.of.key} to search by here; runs have {known}", "use those"
        )
    rows = select(literal(1)).select_from(RunInput).join(Dataset, col(Dataset.id) == col(RunInput.target))
    mine = (col(RunInput.run) == searched.owner, col(RunInput.kind) == "dataset")
    return exists(rows.where(*mine, _compared(column, one, dialect, is_number=False)))


def _attribute(searched: Searched, of: Named) -> tuple[Column, bool]:
    column = searched.attributes.get(of.key)
    if of.entity != "attribute" or column is None:
        known = ", ".join(sorted(searched.attributes))
        raise FilterError(
            f"reading the filter: {of.key!r} is no attribute to search by; known are {known}", "use those"
        )
    return column, of.key in searched.numeric


def _compared(column: Column, one: Comparison, dialect: str, *, is_number: bool) -> Column:
    operator, value = one.operator, one.value
    if operator in {"IS NULL", "IS NOT NULL"}:
        return column.is_(null()) if operator == "IS NULL" else column.is_not(null())
    if is_number:
        if operator in _TEXT_ONLY or not isinstance(value, float):
            raise FilterError(f"reading the filter: {one.of.key} is a number, and {_told(operator, value)} is none", "")
        return _COMPARE[operator](column, value)
    if operator in {"IN", "NOT IN"}:
        among = column.in_(value if isinstance(value, tuple) else ())
        return among if operator == "IN" else ~among
    if not isinstance(value, str) or operator not in {"=", "!=", "LIKE", "ILIKE"}:
        raise FilterError(
            f"reading the filter: {one.of.key} is a text, and {_told(operator, value)} compares no texts",
            "use = != LIKE ILIKE or IN, with the value in quotes",
        )
    if operator in _COMPARE:
        return _COMPARE[operator](column, value)
    return _like(column, value, dialect, is_exact=operator == "LIKE")


def _like(column: Column, pattern: str, dialect: str, *, is_exact: bool) -> Column:
    """Compare with a pattern of `%` and `_`; SQLite's LIKE takes no account of case, its GLOB does."""
    if dialect != "sqlite":
        plain = pattern.replace("\\", "\\\\")  # which escapes nothing in MLflow's patterns
        return column.like(plain) if is_exact else column.ilike(plain)
    if not is_exact:
        return column.like(pattern)
    shown = "".join({"%": "*", "_": "?"}.get(one, f"[{one}]" if one in "*?[" else one) for one in pattern)
    return column.op("GLOB", is_comparison=True)(shown)


def _order(searched: Searched, one: Order) -> list[Column]:
    if one.of.entity == "attribute":
        column, _ = _attribute(searched, one.of)
        return [_is_absent(column), _directed(column, one)]
    if one.of.entity == "dataset":
        raise FilterError("reading the order: data sets are nothing to order by", "order by metrics, params or tags")
    rows, value, is_number = _rows_of(searched, one.of)
    found = rows.with_only_columns(value).scalar_subquery()
    ordered: Column = found if is_number else cast(found, SqlText)
    return [_is_absent(found), _directed(ordered, one)]


def _is_absent(column: Column) -> Column:
    return column.is_(null())


def _directed(column: Column, one: Order) -> Column:
    return column.desc() if one.is_descending else column.asc()


def _told(operator: str, value: Value) -> str:
    return f"{operator} {value!r}"[:80]
