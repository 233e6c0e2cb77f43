"""Values as a query writes them, and the test that each operator makes of one. Pure.

A test takes what a device has and the clock; it is made once a query and runs for each device.
"""

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from packaging.version import InvalidVersion, Version

from shoal_hub.devices.query_fields import Kind

Test: TypeAlias = Callable[[Any, datetime], bool]

_NUMBER: Final = re.compile(r"(-?[0-9]{1,18}(?:\.[0-9]{1,9})?)(KiB|MiB|GiB)?")
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_SIZES: Final = {None: 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def make_test(kind: Kind, symbol: str, values: Sequence[str]) -> Test:
    """Return the test of `field symbol values` for fields of this kind; `!=` gets the test of `=`.

    Raises:
        ValueError: A value is none of this kind; the text says what was expected.
    """
    if symbol in {"=", "!=", "in"}:
        return _is_one_of(kind, values)
    return _is_like(kind, values[0]) if symbol == "~" else _orders(kind, _COMPARE[symbol], values[0])


def parse_number(text: str) -> float:
    """Return a number, with `KiB`, `MiB` or `GiB` after it as bytes.

    Raises:
        ValueError: It is none.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        msg = "a number was expected, like 4 or 512MiB"
        raise ValueError(msg)
    return (float(found[1]) if "." in found[1] else int(found[1])) * _SIZES[found[2]]


def parse_duration_s(text: str) -> int:
    """Return a duration like `10m` in seconds.

    Raises:
        ValueError: It is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        msg = "a duration was expected, like 30s, 10m, 2h, 7d or 4w"
        raise ValueError(msg)
    return int(found[1]) * _SECONDS[found[2]]


def _is_one_of(kind: Kind, values: Sequence[str]) -> Test:
    if kind is Kind.NUMBER:
        numbers = frozenset(parse_number(value) for value in values)
        return lambda value, _now: value in numbers
    texts = frozenset(values)
    if kind is Kind.TEXTS:
        return lambda value, _now: not texts.isdisjoint(value)
    return lambda value, _now: value in texts


def _is_like(kind: Kind, pattern: str) -> Test:
    # fnmatch's expression cannot backtrack into an earlier `*`, so that no pattern costs more than its length allows.
    match = re.compile(fnmatch.translate(pattern)).match
    if kind is Kind.TEXTS:
        return lambda value, _now: any(match(one) is not None for one in value)
    return lambda value, _now: match(value) is not None


def _orders(kind: Kind, compare: Callable[[Any, Any], bool], text: str) -> Test:
    if kind is Kind.VERSION:
        wanted = _version(text)
        if wanted is None:
            msg = "a version was expected, like 0.3 or 36.4.0"
            raise ValueError(msg)
        return lambda value, _now: (has := _version(value)) is not None and compare(has, wanted)
    if kind is Kind.AGE:
        most_s = parse_duration_s(text)
        return lambda value, now: compare((now - value).total_seconds(), most_s)
    if kind is Kind.TIME_LEFT:
        left_s = parse_duration_s(text)
        return lambda value, now: compare((value - now).total_seconds(), left_s)
    number = parse_number(text)
    if kind is Kind.TAG:
        return lambda value, _now: _NUMBER.fullmatch(value) is not None and compare(parse_number(value), number)
    return lambda value, _now: compare(value, number)


@lru_cache(maxsize=1024)
def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:  # of a build that numbers in its own way: it has no order
        return None
