"""Keys that several rows have are found, of one column or of several together."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.validation.tables import bad_rows, found

ROWS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.one_of(st.none(), st.sampled_from("ab"))))


@pytest.mark.parametrize(("keep", "rows"), [("first", [2, 4]), ("last", [0, 2]), ("none", [0, 2, 4])])
def test_of_rows_with_one_key_one_or_none_is_kept(keep: str, rows: list[int]) -> None:
    outcome = found({"id": ["a", "b", "a", None, "a", None]}, "unique", columns=["id"], keep=keep)
    assert bad_rows(outcome) == rows
    assert outcome.facts["keys"] == [["a"]]


@pytest.mark.parametrize("column", [[3, 1, 2], ["a", "b"], [1.0, None, None], [0.5, float("nan"), float("nan")]])
def test_values_that_differ_or_are_missing_are_no_duplicates(column: list[Any]) -> None:
    assert found({"id": column}, "unique", columns=["id"]).passed


@given(ROWS)
def test_keys_of_two_columns_are_compared_whole(rows: list[tuple[int | None, str | None]]) -> None:
    table = pa.table({"n": pa.array([one for one, _ in rows], pa.int64()), "s": pa.array([one for _, one in rows])})
    table = table.set_column(1, "s", table["s"].cast(pa.string()))
    counts = Counter(row for row in rows if None not in row)
    expected = [at for at, row in enumerate(rows) if counts[row] > 1]
    assert bad_rows(found(table, "unique", columns=["n", "s"], keep="none")) == expected


@given(
    st.lists(st.lists(st.sampled_from(["", "a", "ab", "abcdefgh", "abcdefghi", "Zoé", "b" * 65]) | st.text(max_size=9)))
)
def test_texts_that_are_the_same_are_found_wherever_they_lie(chunks: list[list[str]]) -> None:
    column = pa.chunked_array([pa.array(["x", *chunk], pa.string()).slice(1) for chunk in chunks], pa.string())
    texts = [text for chunk in chunks for text in chunk]
    counts = Counter(texts)
    expected = [at for at, text in enumerate(texts) if counts[text] > 1]
    assert bad_rows(found(pa.table({"id": column}), "unique", columns=["id"], keep="none")) == expected


def test_an_empty_text_is_the_same_beside_others_and_alone() -> None:
    column = pa.chunked_array([pa.array(["", "long enough"]), pa.array([""])])
    assert bad_rows(found(pa.table({"id": column}), "unique", columns=["id"])) == [2]
