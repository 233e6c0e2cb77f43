"""The check that columns of one row fit each other, said as a small formula that is read and never run as code."""

import ast
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field, field_validator

from shoal_training.errors import DataError
from shoal_training.validation.check import Check, Outcome
from shoal_training.validation.column_values import mask_of, named_columns, plain

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LENGTH: Final = 500
MAX_DEPTH: Final = 20
_QUOTED: Final = re.compile(r"`([^`]+)`")
_STAND_IN: Final = "quoted_{}_column"
_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
_CALCULATIONS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
}
_GRAMMAR: Final = "columns, numbers, 'texts', + - * /, < <= > >= == !=, and, or, not and parentheses"


class Expression(Check):
    """A comparison of columns holds in each row, like `start <= end` or `width * height > 0 and unit != ''`.

    A column whose name is none of Python's stands in backquotes: `` `net weight` <= gross ``. Where a value is missing
    nothing is said of the row, as in SQL.
    """

    kind: ClassVar[str] = "expression"

    expression: str = Field(min_length=1, max_length=MAX_LENGTH)

    @field_validator("expression")
    @classmethod
    def _check_form(cls, value: str) -> str:
        tree, _ = _read(value)
        _check(tree, 0)
        if not _is_claim(tree):
            raise ValueError(f"{value!r} compares nothing; write a comparison, like a <= b")
        return value

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        tree, names = _read(self.expression)
        used = [names.get(node.id, node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)]
        columns = dict(named_columns(table, list(dict.fromkeys(used)), self.kind))
        try:
            holds = _value(tree, {alias: columns[name] for alias, name in _aliases(columns, names).items()})
            if isinstance(holds, pa.Scalar):
                holds = pa.chunked_array([pa.repeat(holds, len(table))])
            is_bad = mask_of(pc.invert(holds))
        except (pa.ArrowException, TypeError) as error:
            raise DataError(f"checking {self.kind} {self.expression!r}: {error}; compare values of one kind") from error
        return self.judged(len(table), {f"not {self.expression}": is_bad})


def _read(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Return the formula's tree, and the names in backquotes by what stands in for them.

    Raises:
        ValueError: It is none.
    """
    names: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        alias = _STAND_IN.format(len(names))
        names[alias] = found.group(1)
        return alias

    try:
        return ast.parse(_QUOTED.sub(stand_in, text).strip(), mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no formula: {error}; it is made of {_GRAMMAR}") from error


def _check(node: ast.AST, depth: int) -> None:
    """See that a tree has nothing but what is computed here.

    Raises:
        ValueError: It has.
    """
    is_known = isinstance(node, ast.Name | ast.Compare | ast.BoolOp | ast.BinOp | ast.UnaryOp) or (
        isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str)
    )
    wrong_operator = (
        (isinstance(node, ast.BinOp) and type(node.op) not in _CALCULATIONS)
        or (isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not | ast.USub))
        or (isinstance(node, ast.Compare) and any(type(one) not in _COMPARISONS for one in node.ops))
    )
    if not is_known or wrong_operator or depth > MAX_DEPTH:
        found = ast.unparse(node) if depth <= MAX_DEPTH else "too many levels"
        raise ValueError(f"{found[:80]!r} is not allowed; a formula is made of {_GRAMMAR}")
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(child, depth + 1)


def _is_claim(node: ast.expr) -> bool:
    """Whether a tree is true or false of a row."""
    if isinstance(node, ast.BoolOp):
        return all(_is_claim(one) for one in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _is_claim(node.operand)
    return isinstance(node, ast.Compare)


def _aliases(columns: "dict[str, pa.ChunkedArray]", names: dict[str, str]) -> dict[str, str]:
    return {name: name for name in columns} | names


def _value(  # noqa: PLR0911 - a case each
    node: ast.expr, columns: "dict[str, pa.ChunkedArray]"
) -> Any:  # noqa: ANN401 - a column or a scalar of Arrow
    """Return what a tree comes to, for all rows at once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    match node:
        case ast.Name():
            return plain(columns[node.id])
        case ast.Constant():
            return pa.scalar(node.value)
        case ast.UnaryOp(op=ast.Not()):
            return pc.invert(_value(node.operand, columns))
        case ast.UnaryOp():
            return pc.negate(_value(node.operand, columns))
        case ast.BinOp():
            return _calculated(node, columns)
        case ast.BoolOp():
            together = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            found, *others = (_value(one, columns) for one in node.values)
            for one in others:
                found = together(found, one)
            return found
        case ast.Compare():
            values = [_value(one, columns) for one in (node.left, *node.comparators)]
            pairs = zip(values, node.ops, values[1:], strict=False)
            found, *others = (pc.call_function(_COMPARISONS[type(op)], [left, right]) for left, op, right in pairs)
            for one in others:
                found = pc.and_kleene(found, one)
            return found
        case _:
            raise TypeError(f"{ast.unparse(node)[:80]!r} can not be computed")


def _calculated(node: ast.BinOp, columns: "dict[str, pa.ChunkedArray]") -> Any:  # noqa: ANN401 - as above
    """Return a sum, difference, product or quotient; of numbers in 64 bits with a point, so that nothing overflows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def wide(value: Any) -> Any:  # noqa: ANN401 - as above
        return value.cast(pa.float64(), safe=False) if pa.types.is_integer(value.type) else value

    left, right = wide(_value(node.left, columns)), wide(_value(node.right, columns))
    return pc.call_function(_CALCULATIONS[type(node.op)], [left, right])
