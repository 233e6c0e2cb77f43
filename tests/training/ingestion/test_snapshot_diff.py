"""What differs between snapshots: rows by a key and as a whole, columns, and what values are like."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_training.errors import DataError
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.snapshot_diff import diff
from shoal_training.ingestion.snapshots import Snapshot, SnapshotStore
from shoal_training.ingestion.source import Reading
from shoal_training.ingestion.tensors import tensor_array


def snapshot(folder: Path, columns: Mapping[str, Any]) -> Snapshot:
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return SnapshotStore(folder / "store").take([FileSource(path="rows.parquet")], Reading(folder))


def test_rows_are_added_removed_and_changed_by_their_key(tmp_path: Path) -> None:
    before = snapshot(tmp_path, {"id": [1, 2, 3, 4], "x": [1.0, 2.0, None, 4.0], "y": ["a", "b", "c", "d"]})
    after = snapshot(tmp_path, {"id": [5, 4, 3, 2], "x": [9.0, 4.0, 3.0, 2.0], "y": ["e", "D", "C", "b"]})
    found = diff(before, after, ["id"])
    assert (found.added, found.removed, found.changed) == (1, 1, 2)
    assert found.examples["added"] == [{"id": "5"}]
    assert found.examples["removed"] == [{"id": "1"}]
    assert found.examples["changed"] == [{"id": "3"}, {"id": "4"}]
    columns = {one.name: one for one in found.columns}
    assert (columns["x"].changed_rows, columns["y"].changed_rows) == (1, 2)
    assert (columns["x"].null_share_before, columns["x"].null_share_after) == (0.25, 0.0)
    assert (columns["x"].mean_before, columns["x"].mean_after) == (pytest.approx(7 / 3), 4.5)
    assert columns["y"].mean_after is None


def test_without_a_key_rows_are_compared_as_a_whole_whatever_their_order(tmp_path: Path) -> None:
    before = snapshot(tmp_path, {"x": [1, 1, 2, None], "y": ["a", "a", "b", None]})
    after = snapshot(tmp_path, {"x": [None, 2, 1, 3], "y": [None, "b", "a", "c"]})
    found = diff(before, after)
    assert (found.added, found.removed, found.changed) == (1, 1, None)
    assert found.examples["removed"] == [{"x": "1", "y": "a"}]


def test_columns_that_come_go_and_change_their_type_are_named(tmp_path: Path) -> None:
    before = snapshot(tmp_path, {"id": [1, 2], "x": [1, 2], "old": [True, False]})
    after = snapshot(tmp_path, {"id": [1, 2], "x": [1.5, 2.5], "new": ["a", None]})
    found = diff(before, after, ["id"])
    assert found.columns_added == {"new": "string"}
    assert found.columns_removed == {"old": "bool"}
    assert found.columns_retyped == {"x": ("int64", "double")}
    columns = {one.name: one for one in found.columns}
    assert (columns["x"].mean_before, columns["x"].mean_after) == (1.5, 2.0)
    assert (columns["old"].mean_before, columns["old"].null_share_after) == (0.5, None)
    assert (columns["new"].null_share_before, columns["new"].null_share_after) == (None, 0.5)


def test_duplicate_keys_are_counted_and_named(tmp_path: Path) -> None:
    before = snapshot(tmp_path, {"a": [1, 1, 2], "b": ["x", "y", "z"], "c": [1, 2, 3]})
    after = snapshot(tmp_path, {"a": [1, 1, 2], "b": ["x", "x", "z"], "c": [5, 6, 7]})
    found = diff(before, after, ["a", "b"])
    assert (found.duplicate_keys_before, found.duplicate_keys_after) == (0, 1)
    assert found.examples["duplicate"] == [{"a": "1", "b": "x"}]
    assert (found.added, found.removed, found.changed) == (0, 1, 1)


def test_tensors_and_names_that_need_quotes_are_compared(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    before = snapshot(tmp_path, {'the "key"': [1, 2, 3], "x": tensor_array(x)})
    x[1, 0, 0] = 99
    after = snapshot(tmp_path, {'the "key"': [1, 2, 3], "x": tensor_array(x)})
    assert diff(before, after, ['the "key"']).examples["changed"] == [{'the "key"': "2"}]
    assert diff(before, after).added == 1


def test_a_key_that_is_no_column_or_not_to_be_told_apart_is_an_error(tmp_path: Path) -> None:
    before = snapshot(tmp_path, {"id": [1], "ID": [2]})
    with pytest.raises(DataError, match="there is no column key for the key; it has id, ID"):
        diff(before, before, ["key"])
    with pytest.raises(DataError, match="id, ID differ in capitals alone"):
        diff(before, before, ["id"])


_ROWS = st.lists(st.tuples(st.integers(0, 5) | st.none(), st.sampled_from(["a", "b", None])), min_size=1, max_size=12)


@settings(max_examples=12)
@given(_ROWS, _ROWS)
def test_a_diff_is_that_of_multisets(first: Sequence[tuple[Any, Any]], second: Sequence[tuple[Any, Any]]) -> None:
    with TemporaryDirectory() as folder:
        before, after = (
            snapshot(
                Path(folder),
                {
                    "x": pa.array([row[0] for row in rows], pa.int64()),
                    "y": pa.array([row[1] for row in rows], pa.string()),
                },
            )
            for rows in (first, second)
        )
        found = diff(before, after)
    assert found.added == (Counter(second) - Counter(first)).total()
    assert found.removed == (Counter(first) - Counter(second)).total()
