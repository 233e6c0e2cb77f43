"""Expressions of a fixed length come to what RE2, which takes all others, says."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_training.validation.fixed_patterns import fixed_pattern, match_fixed

CLASSES = st.sampled_from(
    ["a", "Z", "-", r"\.", r"\d", r"\w", "[a-c]", "[x0-9_]", r"[\d.]", "a{3}", "[ab]{2}", r"\d{4}"]
)
PATTERNS = st.lists(CLASSES, min_size=1, max_size=6).map("".join)


@given(PATTERNS, st.data())
def test_it_matches_as_the_machine_for_all_expressions_does(pattern: str, data: st.DataObject) -> None:
    texts = st.one_of(st.from_regex(pattern, fullmatch=True), st.text("aZ-.0_x\x00é", max_size=12), st.none())
    drawn = data.draw(st.lists(texts, max_size=20))
    cut = data.draw(st.integers(0, len(drawn)))
    whole = pa.array(["before", *drawn], pa.string()).slice(1)
    column = pa.chunked_array([whole.slice(0, cut), whole.slice(cut)])
    places = fixed_pattern(pattern)
    assert places is not None
    expected = pc.match_substring_regex(column, rf"\A(?:{pattern})\z")
    assert match_fixed(column, places).tolist() == [one is not False for one in expected.to_pylist()]


@pytest.mark.parametrize(
    "pattern",
    [
        "a+",
        "a?",
        "a|bc",
        "(a)",
        ".",
        "[^a]",
        "é",
        "(?i)a",
        "a{2,3}",
        "^a",
        r"\s",
        "",
        "[",
        "a{65}",
        "(a{9}){9}",
        "[[:digit:]]{4}",
        "[[:^upper:]]",
    ],
)
def test_other_expressions_are_not_taken(pattern: str) -> None:
    assert fixed_pattern(pattern) is None
