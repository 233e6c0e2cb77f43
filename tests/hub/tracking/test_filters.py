"""Searches in MLflow's words, read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.tracking.filters import MAX_TERMS, Comparison, FilterError, Named, read_filter, read_order

KEYS = st.from_regex(r"[A-Za-z_]\w{0,8}(\.\w{1,6}){0,2}", fullmatch=True).filter(
    lambda key: not {"and", "in", "not", "is", "null", "like", "ilike"} & set(key.lower().split("."))
)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
COMPARISONS = st.builds(
    lambda entity, key, operator, value: (f"{entity}.{key} {operator} {_quoted(value)}", entity, key, operator, value),
    st.sampled_from(["params", "tags"]),
    KEYS,
    st.sampled_from(["=", "!=", "LIKE", "ILIKE"]),
    TEXTS,
)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_each_kind_of_thing_is_named_by_its_word_and_what_has_none_is_an_attribute() -> None:
    found = read_filter(
        "metrics.acc > 0.9 and params.depth = '3' AND tags.mlflow.source.type = \"LOCAL\" and status = 'FINISHED' "
        "and attributes.start_time >= 1e3 and dataset.name IN ('a', 'b') and tags.`odd key` IS NULL"
    )
    assert found == (
        Comparison(Named("metric", "acc"), ">", 0.9),
        Comparison(Named("param", "depth"), "=", "3"),
        Comparison(Named("tag", "mlflow.source.type"), "=", "LOCAL"),
        Comparison(Named("attribute", "status"), "=", "FINISHED"),
        Comparison(Named("attribute", "start_time"), ">=", 1000.0),
        Comparison(Named("dataset", "name"), "IN", ("a", "b")),
        Comparison(Named("tag", "odd key"), "IS NULL", None),
    )


@given(st.lists(COMPARISONS, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(written: list[tuple[str, str, str, str, str]]) -> None:
    found = read_filter(" and ".join(one[0] for one in written))
    singular = {"params": "param", "tags": "tag"}
    assert [(one.of.entity, one.of.key, one.operator, one.value) for one in found] == [
        (singular[entity], key, operator, value) for _, entity, key, operator, value in written
    ]


@given(st.text(max_size=60))
def test_whatever_is_written_is_read_or_refused_in_words(text: str) -> None:
    try:
        read_filter(text)
    except FilterError as error:
        told = str(error)
    else:
        return
    assert "reading the filter" in told


def test_an_order_has_a_direction_and_rises_without() -> None:
    assert read_order("metrics.acc DESC").is_descending
    assert not read_order("metrics.acc asc").is_descending
    assert not read_order("start_time").is_descending
    assert read_order("params.`learning rate`").of == Named("param", "learning rate")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metrics.acc >", "character 14: its end"),
        ("metrics.a > 1 or metrics.b > 2", "character 15: 'or metrics.b > 2'"),
        ("metrics.acc > 0.9; DROP TABLE runs", "character 18"),
        ("planets.mars = 'red'", "'planets' is nothing to search by"),
        (" and ".join(["tags.a = 'b'"] * (MAX_TERMS + 1)), "51 comparisons, at most 50"),
        ("x" * 10_001, "more than 10000 characters"),
    ],
)
def test_what_is_no_filter_is_refused_with_the_place_and_what_was_found(text: str, told: str) -> None:
    with pytest.raises(FilterError, match="reading the filter") as caught:
        read_filter(text)
    assert told in str(caught.value)
