"""Reads searches in MLflow's words, like `metrics.acc > 0.9 and params.depth = '3'`, and orders. Pure.

Source: mlflow.org/docs, "Search Syntax". `conditions.py` makes of them what the database is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken
from lark.exceptions import VisitError

from shoal_hub.errors import InvalidInputError

MAX_CHARACTERS: Final = 10_000
MAX_VALUES: Final = 500
"""Of one IN."""
MAX_TERMS: Final = 50
Entity = Literal["attribute", "metric", "param", "tag", "dataset"]
Value: TypeAlias = float | str | tuple[str, ...] | None
"""What is compared with: a number, a text, those of an IN, or nothing after IS NULL."""

_ENTITIES: Final[Mapping[str, Entity]] = {
    "metric": "metric",
    "metrics": "metric",
    "param": "param",
    "params": "param",
    "parameter": "param",
    "parameters": "param",
    "tag": "tag",
    "tags": "tag",
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "dataset": "dataset",
    "datasets": "dataset",
}
_FORM: Final = "write comparisons like  metrics.acc > 0.9 and params.depth = '3'  and join them by and"
_GRAMMAR: Final = r"""
filter: comparison (_AND comparison)*
comparison: field OPERATOR value           -> compared
          | field LIKE_WORD text           -> compared
          | field _IN list                 -> among
          | field _NOT _IN list            -> not_among
          | field _IS _NULL                -> absent
          | field _IS _NOT _NULL           -> present
order: field [DIRECTION]
field: WORD | WORD "." (QUOTED_KEY | QUOTED)
?value: NUMBER -> number | text
text: QUOTED
list: "(" text ("," text)* ")"
_AND.3: /and(?![\w.])/i
_IN.3: /in(?![\w.])/i
_NOT.3: /not(?![\w.])/i
_IS.3: /is(?![\w.])/i
_NULL.3: /null(?![\w.])/i
LIKE_WORD.3: /i?like(?![\w.])/i
DIRECTION.3: /(asc|desc)(?![\w.])/i
OPERATOR: "!=" | "<=" | ">=" | "=" | "<" | ">"
NUMBER: /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w.])/
WORD: /[A-Za-z_][\w\/-]*(\.[\w\/-]+)*/
QUOTED_KEY: /`[^`]+`/
QUOTED: /"[^"]*"|'(?:[^']|'')*'/
%import common.WS
%ignore WS
"""


class FilterError(InvalidInputError):
    """A search or an order cannot be read."""


@dataclass(frozen=True)
class Named:
    """What is compared or ordered by: `key` is a metric's or tag's own name, or that of an attribute."""

    entity: Entity
    key: str


@dataclass(frozen=True)
class Comparison:
    """One thing against a value.

    Attributes:
        of: What is compared.
        operator: `=`, `!=`, `<`, `<=`, `>`, `>=`, `LIKE`, `ILIKE`, `IN`, `NOT IN`, `IS NULL` or `IS NOT NULL`.
        value: With what.
    """

    of: Named
    operator: str
    value: Value


@dataclass(frozen=True)
class Order:
    """One key to order by."""

    of: Named
    is_descending: bool


def read_filter(text: str) -> tuple[Comparison, ...]:
    """Return the comparisons of a search, all of which have to hold; none for an empty text.

    Raises:
        FilterError: It is none, or asks too much at once.
    """
    if not text.strip():
        return ()
    found: tuple[Comparison, ...] = _read(text, "filter")
    if len(found) > MAX_TERMS:
        raise FilterError(
            f"reading the filter: {len(found)} comparisons, at most {MAX_TERMS} are taken", "ask for less"
        )
    return found


def read_order(text: str) -> Order:
    """Return what a list is ordered by, like `metrics.acc DESC`.

    Raises:
        FilterError: It names nothing to order by.
    """
    found: Order = _read(text, "order")
    return found


def _read(text: str, start: str) -> Any:  # noqa: ANN401 - what the start rule makes
    if len(text) > MAX_CHARACTERS:
        raise FilterError(f"reading the {start}: more than {MAX_CHARACTERS} characters", _FORM)
    try:
        return _Reader().transform(_parser().parse(text, start=start))
    except VisitError as error:
        if isinstance(error.orig_exc, FilterError):
            raise error.orig_exc from error
        raise
    except UnexpectedInput as error:
        is_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        position: Any = error.pos_in_stream  # which lark declares as None alone
        at = len(text) if is_end else position or 0
        found = "its end" if is_end else repr(text[at : at + 20])
        raise FilterError(
            f"reading the {start} {text[:200]!r} at character {at + 1}: {found} was not expected", _FORM
        ) from error


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", start=["filter", "order"])


class _Reader(Transformer[Token, Any]):
    """Makes values of the grammar's rules."""

    def filter(self, parts: list[Comparison]) -> tuple[Comparison, ...]:
        return tuple(parts)

    def order(self, parts: list[Any]) -> Order:
        return Order(parts[0], is_descending=str(parts[1] or "").lower() == "desc")

    def compared(self, parts: list[Any]) -> Comparison:
        return Comparison(parts[0], str(parts[1]).upper(), parts[2])

    def among(self, parts: list[Any]) -> Comparison:
        return Comparison(parts[0], "IN", parts[1])

    def not_among(self, parts: list[Any]) -> Comparison:
        return Comparison(parts[0], "NOT IN", parts[1])

    def absent(self, parts: list[Any]) -> Comparison:
        return Comparison(parts[0], "IS NULL", None)

    def present(self, parts: list[Any]) -> Comparison:
        return Comparison(parts[0], "IS NOT NULL", None)

    def field(self, parts: list[Token]) -> Named:
        first, _, rest = str(parts[0]).partition(".")
        if len(parts) > 1:
            rest = f"{rest}.{parts[1][1:-1]}" if rest else parts[1][1:-1]
        entity = _ENTITIES.get(first.lower())
        if not rest:
            return Named("attribute", first)
        if entity is None:
            known = ", ".join(sorted(set(_ENTITIES.values())))
            raise FilterError(f"reading the filter: {first!r} is nothing to search by; known are {known}", _FORM)
        return Named(entity, rest)

    def number(self, parts: list[Token]) -> float:
        return float(parts[0])

    def text(self, parts: list[Token]) -> str:
        quoted = str(parts[0])
        return quoted[1:-1].replace("''", "'") if quoted.startswith("'") else quoted[1:-1]

    def list(self, parts: list[str]) -> tuple[str, ...]:
        if len(parts) > MAX_VALUES:
            raise FilterError(
                f"reading the filter: {len(parts)} values in one list, at most {MAX_VALUES} are taken", _FORM
            )
        return tuple(parts)
