"""Queries over devices, like `tags.site = paris and not models.digits.version >= 3`: parsed, shown and decided. Pure.

What a device does not have compares with nothing, so only `!=` and `not` match it. `matching.py` brings the devices.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from typing import Any, ClassVar, Final, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

from shoal_hub.devices.query_fields import FIELDS, OPERATORS, DeviceRow, Field, find_field
from shoal_hub.devices.query_values import Test, make_test
from shoal_hub.errors import InvalidInputError

MAX_QUERY_CHARACTERS: Final = 2_000
MAX_QUERY_DEPTH: Final = 32
"""How deep `and`, `or` and `not` may stand in one another: deciding and showing go down by recursion."""

_WORD: Final = r"[\w.*?+:@\/-]+"
_KEYWORDS: Final = ("and", "or", "not", "in")
_GRAMMAR: Final = rf"""
?start: any_of
?any_of: all_of | all_of (_OR all_of)+ -> either
?all_of: term | term (_AND term)+ -> both
?term: _NOT term -> negation | "(" any_of ")" | comparison
comparison: FIELD OPERATOR _value | FIELD IN "(" _value ("," _value)* ")"
_value: WORD | QUOTED
_OR.2: /or(?![\w.-])/i
_AND.2: /and(?![\w.-])/i
_NOT.2: /not(?![\w.-])/i
IN.2: /in(?![\w.-])/i
FIELD: /[A-Za-z_][\w.-]*/
OPERATOR: /!=|<=|>=|=|<|>|~/
WORD: /{_WORD}/
QUOTED: /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/
%import common.WS
%ignore WS
"""
_WANTED: Final = {
    "FIELD": "a field",
    "_NOT": "'not'",
    "OPERATOR": "an operator (= != < <= > >= ~ in)",
    "WORD": "a value",
    "QUOTED": "a value",
    "_AND": "'and'",
    "_OR": "'or'",
    "LPAR": "'('",
    "COMMA": "','",
    "RPAR": "')'",
    "$END": "the end",
}
"""The grammar's words as a person is told of them, in the order of telling."""
_FORM: Final = "write comparisons like tags.site = paris, joined by and, or, not and parentheses; quote odd values"


class QueryError(InvalidInputError):
    """A query cannot be read.

    Attributes:
        position: Where, counted in characters from 1.
    """

    def __init__(self, position: int, found: str, problem: str, remedy: str = _FORM) -> None:
        shown = f" ({found[:20]!r})" if found else ""
        super().__init__(f"reading the query at character {position}{shown}: {problem}", remedy)
        self.position = position


@dataclass(frozen=True)
class Comparison:
    """One field against one value, or against several by `in`."""

    field: Field
    operator: str
    values: tuple[str, ...]
    depth: ClassVar[int] = 1

    @cached_property
    def _test(self) -> Test:
        return make_test(self.field.kind, self.operator, self.values)

    def matches(self, device: DeviceRow, now: datetime) -> bool:
        """Return whether the device's value compares; one that it does not have is only unequal."""
        value = self.field.read(device)
        does_match = value is not None and self._test(value, now)
        return does_match if self.operator != "!=" else not does_match

    def __str__(self) -> str:
        values = ", ".join(_quote(value) for value in self.values)
        return f"{self.field.name} {self.operator} " + (f"({values})" if self.operator == "in" else values)


@dataclass(frozen=True)
class Not:
    """What does not match its part."""

    part: "Expression"

    @cached_property
    def depth(self) -> int:
        """How deep it stands, itself counted."""
        return 1 + self.part.depth

    def matches(self, device: DeviceRow, now: datetime) -> bool:
        """Return whether the part does not match."""
        return not self.part.matches(device, now)

    def __str__(self) -> str:
        return f"not {_inside(self.part)}"


@dataclass(frozen=True)
class Joined:
    """Parts of which all have to match (`and`), or one (`or`)."""

    word: str
    parts: tuple["Expression", ...]

    @cached_property
    def depth(self) -> int:
        """How deep it stands, itself counted."""
        return 1 + max(part.depth for part in self.parts)

    def matches(self, device: DeviceRow, now: datetime) -> bool:
        """Return whether all parts match, or one."""
        decide = all if self.word == "and" else any
        return decide(part.matches(device, now) for part in self.parts)

    def __str__(self) -> str:
        return f" {self.word} ".join(_inside(part) for part in self.parts)


Expression: TypeAlias = Comparison | Not | Joined


@dataclass(frozen=True)
class Query:
    """A query over devices; `str` writes it so that `parse_query` reads the same again."""

    root: Expression

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns of `Device` that it needs."""
        return frozenset(name for one in _comparisons(self.root) for name in one.field.columns)

    def matches(self, device: DeviceRow, now: datetime) -> bool:
        """Return whether a device matches.

        Args:
            device: It, or a row that has at least `columns`.
            now: The clock, for ages.
        """
        return self.root.matches(device, now)

    def required(self) -> Iterator[Comparison]:
        """Yield comparisons that every device that matches has to match; the query may ask for more."""
        is_and = isinstance(self.root, Joined) and self.root.word == "and"
        for part in self.root.parts if isinstance(self.root, Joined) and is_and else (self.root,):
            if isinstance(part, Comparison):
                yield part

    def __str__(self) -> str:
        return str(self.root)


def parse_query(text: str) -> Query:
    """Read a query.

    Args:
        text: At most `MAX_QUERY_CHARACTERS` characters, nested at most `MAX_QUERY_DEPTH` deep.

    Raises:
        QueryError: It is none: the text tells the place, and what was expected there.
    """
    if len(text) > MAX_QUERY_CHARACTERS:
        raise QueryError(
            MAX_QUERY_CHARACTERS + 1,
            "",
            f"it has {len(text)} characters, {MAX_QUERY_CHARACTERS} is the most",
            "tag the devices, and query the tag",
        )
    if odd := re.search("[\x00\ud800-\udfff]", text):
        raise QueryError(odd.start() + 1, odd[0], "text that can be stored was expected", "take the character out")
    try:
        return Query(_parser().parse(text))  # type: ignore[arg-type]  # the transformer makes it one
    except UnexpectedInput as error:
        raise _unexpected(text, error) from error


def all_of(queries: Sequence[Query]) -> Query:
    """Return the query that matches what all of these, at least one, match."""
    return queries[0] if len(queries) == 1 else Query(Joined("and", tuple(one.root for one in queries)))


@v_args(inline=True)
class _Builder(Transformer[Token, Expression]):
    """Makes expressions while the parser reads, so that nothing recurses into what was not bounded yet."""

    def comparison(self, name: Token, symbol: Token, *values: Token) -> Comparison:
        field = find_field(name)
        if field is None:
            raise _at(name, "there is no such field", f"fields are {', '.join(FIELDS)}")
        operator = symbol.lower()
        known = OPERATORS[field.kind]
        if operator not in known:
            raise _at(symbol, f"{name} is {field.kind}, which {operator} does not compare", f"use {' '.join(known)}")
        texts = tuple(_text(value) for value in values)
        for token, value in zip(values, texts, strict=True):
            if operator != "~" and field.words and value not in field.words:
                raise _at(token, f"{name} is never that", f"it is one of {', '.join(field.words)}")
            try:
                make_test(field.kind, operator, (value,))
            except ValueError as error:
                raise _at(token, f"for {name} {error}") from error
        return Comparison(field, operator, texts)

    def negation(self, part: Expression) -> Expression:
        return _bounded(Not(part))

    def both(self, *parts: Expression) -> Expression:
        return _bounded(Joined("and", parts))

    def either(self, *parts: Expression) -> Expression:
        return _bounded(Joined("or", parts))


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", transformer=_Builder(), maybe_placeholders=False)


def _bounded(expression: Expression) -> Expression:
    if expression.depth > MAX_QUERY_DEPTH:
        raise QueryError(1, "", f"it is nested deeper than {MAX_QUERY_DEPTH}", "write it flatter, or tag the devices")
    return expression


def _comparisons(expression: Expression) -> Iterator[Comparison]:
    if isinstance(expression, Comparison):
        yield expression
        return
    for part in (expression.part,) if isinstance(expression, Not) else expression.parts:
        yield from _comparisons(part)


def _inside(part: Expression) -> str:
    return f"({part})" if isinstance(part, Joined) else str(part)


def _quote(value: str) -> str:
    if re.fullmatch(_WORD, value) and value.lower() not in _KEYWORDS:
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _text(token: Token) -> str:
    return str(token) if token.type == "WORD" else re.sub(r"\\([\s\S])", r"\1", token[1:-1])


def _at(token: Token, problem: str, remedy: str = _FORM) -> QueryError:
    return QueryError((token.start_pos or 0) + 1, str(token), problem, remedy)


def _unexpected(text: str, error: UnexpectedInput) -> QueryError:
    """Return what the parser found in the words of a person."""
    expected: set[str] = set()
    place = len(text)
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        place = len(text) if error.token.type == "$END" else (error.token.start_pos or 0)
    elif isinstance(error, UnexpectedCharacters):
        at: Any = error.pos_in_stream  # lark's types take it for None
        expected, place = error.allowed, at
    rest = text[place:]
    if rest[:1] in {'"', "'"} and "QUOTED" in expected:
        return QueryError(place + 1, rest, "the quote is never closed")
    wanted = list(dict.fromkeys(told for name, told in _WANTED.items() if name in expected))
    choice = " or ".join(one for one in (", ".join(wanted[:-1]), wanted[-1]) if one)
    return QueryError(place + 1, rest, f"{choice} was expected" + ("" if rest else ", and it ends here"))
