"""Says what is wrong with a recipe: what was found, what is expected, and what to do, in place of pydantic's words."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from shoal_contract.ids import NAME_PATTERN

Place = tuple[int | str, ...]
_Context = Mapping[str, Any]

_NAMES: Final = "small letters, digits, '.', '_' and '-', at most 63, the first a letter or digit; rename it"
_EXPECTED: Final[Mapping[str, Callable[[_Context], str]]] = {
    "too_long": lambda said: f"at most {said['max_length']}; leave some out",
    "literal_error": lambda said: f"{said['expected']}; take one of them",
    "string_pattern_mismatch": lambda said: (
        _NAMES if said["pattern"] == NAME_PATTERN else f"what {said['pattern']} matches; write it so"
    ),
    "greater_than": lambda said: f"more than {said['gt']:g}; give such a number",
    "greater_than_equal": lambda said: f"at least {said['ge']:g}; give such a number",
    "less_than": lambda said: f"less than {said['lt']:.10g}; give such a number",
    "less_than_equal": lambda said: f"at most {said['le']:.10g}; give such a number",
    "string_too_long": lambda said: f"at most {said['max_length']} characters; shorten it",
    "string_too_short": lambda said: f"at least {said['min_length']} characters; write it out",
    "finite_number": lambda _: "a finite number; give one, or leave the field out",
    "int": lambda _: "a whole number; give one",
    "float": lambda _: "a number; give one",
    "string": lambda _: "text; write it between quotes",
    "bool": lambda _: "true or false; write one of them",
    "tuple": lambda _: "a list; write it as [one, another]",
    "model": lambda _: "a mapping of fields; write each as `name: value` below it",
    "dict": lambda _: "a mapping; write each entry as `name: value` below it",
}
"""By pydantic's type of an error, or by the first word of it."""


def first_of(error: ValidationError) -> tuple[Place, str]:
    """Return where the first error is, and what it is; those of a technique's own fields lie inside of another."""
    first = error.errors(include_url=False)[0]
    said: dict[str, Any] = first.get("ctx", {})
    inner = said.get("error")
    if isinstance(inner, ValidationError):
        place, reason = first_of(inner)
        return (*first["loc"], *place), reason
    return first["loc"], _reason(first["type"], first["input"], first["msg"], said)


def _reason(kind: str, given: object, message: str, said: _Context) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return "there is no such field; see the name, or leave it out"
    if kind == "missing":
        return "it is missing; add it"
    if kind == "too_short":
        return f"{said['actual_length']} found, expected at least {said['min_length']}; add what is missing"
    found = f"{str(given)[:80]!r} found"
    expected = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0])
    return f"{found}: {message}; change it" if expected is None else f"{found}, expected {expected(said)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what to do about a technique's name that is none: the names that are most like it, or where they are."""
    alike = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    listed = "`python -m shoal_compression techniques` lists all"
    return f"did you mean {' or '.join(alike)}? {listed}" if alike else listed
