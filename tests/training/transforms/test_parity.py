"""A law of every step and of chains of steps: the table's way and the graph's give the same, whatever the rows hold."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.transforms.graphs import Both, fitted

from shoal_training.transforms.dates import FIRST_S, LAST_S
from shoal_training.transforms.preparation import Preparation
from shoal_training.transforms.step import Step
from shoal_training.transforms.steps import BY_KIND

Fields = dict[str, Any]

FIT = pa.table(
    {
        "a": pa.array([0.5, 1.5, None, 8.0, 3.25, 2.0, 2.0, 40.0], pa.float64()),
        "b": pa.array([1, 2, 3, 4, 5, 6, 7, 16_777_217], pa.int64()),
        "c": pa.array([True, False, None, True, True, False, True, False]),
        "word": ["red", "green", "", "blue", "red", "red", "green", "black"],
        "size": pa.array(["s", "m", "l", "m", None, "s", "s", "l"]).dictionary_encode(),
        "at": pa.array([f"2024-02-29T23:5{at}:59.5" for at in range(8)]).cast(pa.timestamp("us")),
        "digits": ["1", "2.5", "", "-7", "1e3", "0", "8", "9"],
    }
)
NUMBERS, TEXTS = ("a", "b", "c"), ("word", "size")
ALONE: list[tuple[str, Fields, tuple[str, ...]]] = [
    ("impute", {}, NUMBERS),
    ("impute", {"strategy": "mean", "is_marked": True}, NUMBERS),
    ("impute", {"strategy": "most_frequent"}, NUMBERS),
    ("impute", {"strategy": "constant", "fill_value": -1.5}, NUMBERS),
    ("standardize", {}, NUMBERS),
    ("min_max", {"low": -1, "high": 3}, NUMBERS),
    ("robust", {}, NUMBERS),
    ("clip", {"low": 1, "high": 5}, NUMBERS),
    ("clip", {"low_quantile": 0.1, "high_quantile": 0.9}, NUMBERS),
    ("log", {}, NUMBERS),
    ("log", {"is_signed": True}, NUMBERS),
    ("bin", {"bins": 4}, NUMBERS),
    ("bin", {"bins": 3, "strategy": "uniform", "encode": "one_hot"}, NUMBERS),
    ("bin", {"bins": 3, "strategy": "kmeans"}, ("a", "b")),
    ("one_hot", {}, TEXTS),
    ("one_hot", {"max_categories": 2}, TEXTS),
    ("one_hot", {"columns": ["c", "b"]}, NUMBERS),
    ("one_hot", {"columns": ["b"], "max_categories": 3}, NUMBERS),
    ("ordinal", {}, TEXTS),
    ("ordinal", {"columns": ["size"], "order": ["s", "m", "l"], "unknown_value": 9}, ("size",)),
    ("hash", {"buckets": 5}, TEXTS),
    ("polynomial", {"degree": 3}, NUMBERS),
    ("polynomial", {"interaction_only": True}, NUMBERS),
    ("ratio", {"columns": ["a", "b"]}, NUMBERS),
    ("difference", {"columns": ["b", "a"], "name": "gap"}, NUMBERS),
    ("date_parts", {"parts": ["year", "month", "day", "weekday", "is_weekend", "hour", "minute"]}, ("at",)),
    ("date_parts", {"parts": ["month", "weekday", "hour"], "is_cyclic": True, "utc_offset_hours": 5.5}, ("at",)),
    ("date_parts", {"columns": ["b"]}, ("b",)),
    ("drop", {"columns": ["b"]}, NUMBERS),
    ("cast", {"columns": ["a", "b"], "to": "integer"}, NUMBERS),
    ("cast", {"columns": ["a", "c"], "to": "boolean"}, NUMBERS),
    ("cast", {"columns": ["digits"], "to": "number"}, ("digits",)),
]
CHAINS: list[list[tuple[str, Fields]]] = [
    [
        ("impute", {}),
        ("standardize", {}),
        ("clip", {"low": -2, "high": 2}),
        ("one_hot", {}),
        ("drop", {"columns": ["at"]}),
    ],
    [
        ("impute", {"columns": ["word"], "strategy": "most_frequent"}),
        ("impute", {"columns": ["size"], "strategy": "constant", "fill_value": "unknown"}),
        ("ordinal", {"columns": ["word"]}),
        ("hash", {"columns": ["size"], "buckets": 3}),
        ("date_parts", {"is_cyclic": True}),
        ("ratio", {"columns": ["at_hour_sin", "word"], "name": "mixed", "when_zero": 7}),
        ("polynomial", {"columns": ["mixed", "a"]}),
        ("bin", {"columns": ["b"], "bins": 3, "encode": "one_hot"}),
    ],
    [
        ("cast", {"columns": ["digits"], "to": "number"}),
        ("cast", {"columns": ["b"], "to": "text"}),
        ("one_hot", {"columns": ["b", "word", "size"], "max_categories": 3}),
        ("difference", {"columns": ["digits", "a"]}),
        ("robust", {"columns": ["digits-a", "c"]}),
        ("log", {"columns": ["a"], "is_signed": True}),
        ("min_max", {}),
        ("drop", {"columns": ["at", "c"]}),
    ],
]

_single = st.floats(width=32)
_texts = st.one_of(
    st.sampled_from(["red", "green", "blue", "black", "s", "m", "l", "", None]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)
ROW = st.fixed_dictionaries(
    {
        "a": st.one_of(st.none(), _single, st.sampled_from([0.5, 2.0, 8.0, 5.0])),
        "b": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 8)),
        "c": st.one_of(st.none(), st.booleans()),
        "word": _texts,
        "size": _texts,
        "at": st.one_of(
            st.none(), st.integers(-(2**62), 2**62), st.integers(int(FIRST_S) * 10**6, int(LAST_S) * 10**6)
        ),
        "digits": st.one_of(st.just(""), st.none(), _single.map(str), st.integers(-99, 99).map(str)),
    }
)
SCHEMA = FIT.schema.set(FIT.schema.get_field_index("size"), pa.field("size", pa.string()))


def made(kind: str, fields: Fields) -> Step:
    return BY_KIND[kind].model_validate(fields)


def check(preparation: Preparation, columns: tuple[str, ...]) -> Callable[[], None]:
    """Return the test of a fitted preparation on rows of any values."""
    both = Both(preparation)

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(rows=st.lists(ROW, min_size=1, max_size=30))
    def run(rows: list[Fields]) -> None:
        both.assert_same(pa.Table.from_pylist(rows, SCHEMA).select(columns))

    return run


@pytest.mark.parametrize(("kind", "fields", "columns"), ALONE, ids=lambda value: str(value)[:40])
def test_a_step_computes_the_same_on_a_device(kind: str, fields: Fields, columns: tuple[str, ...]) -> None:
    preparation = fitted(FIT.select(columns), made(kind, fields))
    check(preparation, columns)()


@pytest.mark.parametrize("chain", CHAINS, ids=["scaled", "dates and texts", "casts"])
def test_a_chain_of_steps_computes_the_same_on_a_device(chain: list[tuple[str, Fields]]) -> None:
    columns = tuple(FIT.column_names) if chain[0][0] == "cast" else tuple(FIT.column_names[:-1])
    preparation = fitted(FIT.select(columns), *(made(kind, fields) for kind, fields in chain))
    check(preparation, columns)()


def test_every_step_is_held_to_the_law() -> None:
    assert {kind for kind, _, _ in ALONE} == set(BY_KIND)
