"""Slices: by value, range and quantile, each row in one of them, and a column that is not there is said."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from shoal_training.errors import DataError
from shoal_training.evaluation.slicing import SlicedColumn

TABLE = pa.table(
    {
        "age": [10.0, 30.0, 31.0, 60.0, 61.0, None],
        "site": ["a", "a", "b", "b", "c", None],
        "is_night": [True, False, True, False, True, False],
    }
)


def shown(**fields: object) -> dict[str, list[int]]:
    return {one.name: np.flatnonzero(one.is_in).tolist() for one in SlicedColumn(**fields).parts(TABLE)}


def test_a_column_is_parted_by_values_ranges_or_quantiles() -> None:
    assert shown(column="site") == {"site=a": [0, 1], "site=b": [2, 3], "site=c": [4], "site=missing": [5]}
    assert shown(column="site", most_values=1) == {"site=a": [0, 1], "site=others": [2, 3, 4, 5]}
    assert shown(column="site", equals="b") == {"site=b": [2, 3]}
    assert shown(column="is_night", equals=True) == {"is_night=True": [0, 2, 4]}
    assert shown(column="age", bounds=[30, 60]) == {
        "age<=30": [0, 1],
        "30<age<=60": [2, 3],
        "60<age": [4],
        "age=missing": [5],
    }
    assert shown(column="age", quantiles=2) == {"age<=31": [0, 1, 2], "31<age": [3, 4], "age=missing": [5]}


def test_a_range_keeps_its_bounds_as_devices_take_them() -> None:
    first, middle, *_ = SlicedColumn(column="age", bounds=[30, 60]).parts(TABLE)
    assert (first.low, first.high, middle.low, middle.high) == (None, 30, 30, 60)
    assert middle.is_of_numbers
    [named] = SlicedColumn(column="site", equals="a").parts(TABLE)
    assert not named.is_of_numbers


def test_what_can_not_be_parted_is_said() -> None:
    with pytest.raises(DataError, match="there is no column height; the table has age, site"):
        SlicedColumn(column="height").parts(TABLE)
    with pytest.raises(DataError, match="expected numbers for `bounds`"):
        SlicedColumn(column="site", bounds=[1]).parts(TABLE)
    with pytest.raises(ValidationError, match="expected one at most"):
        SlicedColumn(column="age", bounds=[1], quantiles=2)
    with pytest.raises(ValidationError, match="do not rise"):
        SlicedColumn(column="age", bounds=[2, 1])
