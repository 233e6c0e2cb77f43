"""Snapshots: known by content, with their lineage; of a full disk nothing is left, and memory holds no file whole."""

import json
import os
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_compression.errors import OutputError
from shoal_training.errors import DataError
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.row_sizes import row_bytes, row_groups
from shoal_training.ingestion.snapshots import Snapshot, SnapshotStore
from shoal_training.ingestion.source import Reading


def store_rows(folder: Path, name: str, rows: int, start: int = 0) -> Path:
    path = folder / name
    path.write_text("a,b\n" + "".join(f"{at},{at / 3}\n" for at in range(start, start + rows)))
    return path


def take(folder: Path, *paths: str, **options: object) -> Snapshot:
    sources = [FileSource(path=one) for one in paths]
    return SnapshotStore(folder / "store").take(sources, Reading(folder, **options))


def test_the_same_rows_are_the_same_version_wherever_they_lay(tmp_path: Path) -> None:
    store_rows(tmp_path, "whole.csv", 70_000)
    store_rows(tmp_path, "part-1.csv", 123)
    store_rows(tmp_path, "part-2.csv", 69_877, start=123)
    whole = take(tmp_path, "whole.csv")
    assert take(tmp_path, "part-*.csv", batch_rows=1_000).record.id == whole.record.id
    assert take(tmp_path, "part-1.csv", "part-2.csv").record.id == whole.record.id
    assert take(tmp_path, "part-2.csv", "part-1.csv").record.id != whole.record.id
    assert [one.num_rows for one in _groups(whole.path)] == [65_536, 4_464]


def _groups(path: Path) -> list[pq.RowGroupMetaData]:
    with pq.ParquetFile(path) as file:
        return [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]


@given(st.lists(st.text("x", max_size=9), max_size=60), st.lists(st.integers(0, 12), max_size=9), st.integers(1, 9))
def test_groups_of_rows_do_not_depend_on_how_they_came(texts: list[str], sizes: list[int], most_rows: int) -> None:
    whole = pa.table({"a": pa.array(texts, pa.string())})
    ends = [min(sum(sizes[:at]), len(texts)) for at in range(len(sizes) + 1)] + [len(texts)]
    parts = [whole.slice(start, end - start) for start, end in pairwise(ends)]
    found = list(row_groups(parts, most_rows, 20))
    assert [len(one) for one in found] == [len(one) for one in row_groups([whole], most_rows, 20)]
    assert [row for one in found for row in one["a"].to_pylist()] == texts
    for one in found[:-1]:
        taken = sum(len(row) for row in one["a"].to_pylist())
        assert len(one) == most_rows or 20 <= taken < 29
    assert all(len(one) <= most_rows for one in found)


def test_lineage_names_sources_with_fingerprints_and_refused_rows(tmp_path: Path) -> None:
    store_rows(tmp_path, "a.csv", 100)
    with (tmp_path / "a.csv").open("a") as file:
        file.write("broken\n")
    store_rows(tmp_path, "b.csv", 10)
    found = take(tmp_path, "a.csv", "b.csv", is_strict=False)
    first, second = found.record.sources
    assert (first["path"], first["rows"], first["refused_rows"]) == ("a.csv", 100, 1)
    assert (second["rows"], second["refused_rows"]) == (10, 0)
    assert first["fingerprint"] == FileSource(path="a.csv").fingerprint(Reading(tmp_path))
    [refused] = found.refused()
    assert (refused.source, refused.row) == (str(tmp_path / "a.csv"), 101)
    assert (found.record.rows, found.record.refused_rows) == (110, 1)
    assert found.record.columns == {"a": "int64", "b": "double"}


def test_sources_with_other_columns_are_told_or_widened(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x\n1.5\n")
    with pytest.raises(DataError, match=r"b.csv: its columns are not those of a.csv: x is double .*, y is missing"):
        take(tmp_path, "a.csv", "b.csv")
    found = take(tmp_path, "a.csv", "b.csv", schema_change="widen")
    assert found.table().to_pylist() == [{"x": 1.0, "y": 2}, {"x": 1.5, "y": None}]


def test_a_source_that_changes_while_it_is_read_is_no_version(tmp_path: Path) -> None:
    path = store_rows(tmp_path, "a.csv", 10)

    def write_more(*_: object) -> None:
        with path.open("a") as file:
            file.write("11,1\n")

    with pytest.raises(DataError, match="a.csv: it changed while it was read"):
        take(tmp_path, "a.csv", progress=write_more)
    assert SnapshotStore(tmp_path / "store").all() == []


def test_nothing_to_read_is_no_version(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n")
    with pytest.raises(DataError, match="a.csv: there is no row"):
        take(tmp_path, "a.csv")


def test_snapshots_are_listed_found_by_their_beginning_and_pruned_from_the_oldest(tmp_path: Path) -> None:
    made = []
    for at in range(4):
        store_rows(tmp_path, "a.csv", 1_000, start=at)
        made.append(take(tmp_path, "a.csv"))
    store = SnapshotStore(tmp_path / "store")
    (tmp_path / "store/stray").mkdir()
    assert [one.record.id for one in store.all()] == [one.record.id for one in reversed(made)]
    assert store.get(made[1].record.id[:10]).record.id == made[1].record.id
    assert store.get("latest").record.id == made[3].record.id
    with pytest.raises(DataError, match="looking for the snapshot xyz.*0 found, one expected"):
        store.get("xyz")
    size = made[0].record.size_bytes
    removed = store.prune(2 * size + 4_000, keep=[made[0].record.id])
    assert [one.record.id for one in removed] == [made[1].record.id, made[2].record.id]
    assert [one.record.id for one in store.prune(0)] == [made[0].record.id]
    assert [one.record.id for one in store.all()] == [made[3].record.id]
    assert sorted(path.name for path in store.root.iterdir()) == sorted(["stray", made[3].record.id])


_ON_A_FULL_DISK = """
    import resource, sys
    from pathlib import Path
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails as it does on a full disk
    from shoal_compression.errors import OutputError
    from shoal_training.ingestion.files import FileSource
    from shoal_training.ingestion.snapshots import SnapshotStore
    from shoal_training.ingestion.source import Reading
    folder = Path(sys.argv[1])
    try:
        SnapshotStore(folder / "store").take([FileSource(path="a.csv")], Reading(folder))
    except OutputError as error:
        print(error)
"""


def run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    store_rows(tmp_path, "a.csv", 60_000)
    told = run(_ON_A_FULL_DISK, str(tmp_path))
    assert "writing to" in told
    assert "File too large" in told
    assert list((tmp_path / "store").iterdir()) == []


def test_a_folder_that_can_not_be_written_is_said_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(OutputError, match="store"):
        take(tmp_path, "nothing.csv")


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    store_rows(tmp_path, "a.csv", 10)
    left = tmp_path / "store/.new-999999999-abc"
    left.mkdir(parents=True)
    (left / "rows.parquet").write_bytes(b"half")
    take(tmp_path, "a.csv")
    assert not left.exists()


_IN_LITTLE_MEMORY = """
    import sys
    from pathlib import Path
    import pyarrow.csv, pyarrow.parquet, fsspec, numpy
    from shoal_training.ingestion.files import FileSource
    from shoal_training.ingestion.snapshots import SnapshotStore
    from shoal_training.ingestion.source import Reading
    folder = Path(sys.argv[1])
    store = SnapshotStore(folder / "store")
    store.take([FileSource(path="small.csv")], Reading(folder))
    def peak():
        [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    before = peak()
    rows = store.take([FileSource(path=sys.argv[2])], Reading(folder, batch_rows=8_192)).record.rows
    print(rows, peak() - before)
"""


@pytest.mark.parametrize(
    "suffix", ["parquet", *(pytest.param(one, marks=pytest.mark.slow) for one in ("csv", "jsonl", "json"))]
)
def test_a_file_is_read_in_less_memory_than_it_takes(tmp_path: Path, suffix: str) -> None:
    """450 MB of rows: memory grows by a group of 32 MB, in pieces, as one and as it is packed, and stays so."""
    rows, size = 45_000, 10_000
    store_rows(tmp_path, "small.csv", 10)
    path = tmp_path / f"big.{suffix}"
    if suffix == "parquet":
        with pq.ParquetWriter(path, pa.schema([("a", pa.int64()), ("b", pa.string())]), use_dictionary=False) as file:
            for at in range(0, rows, 1_000):
                texts = [f"{one}" * (size // len(f"{one}")) for one in range(at, at + 1_000)]
                file.write_table(pa.table({"a": list(range(at, at + 1_000)), "b": texts}))
    else:
        with path.open("w") as file:
            file.write({"csv": "a,b\n", "json": "[", "jsonl": ""}[suffix])
            for at in range(rows):
                text = f"x{at}" * (size // len(f"{at}"))
                comma = "," if at and suffix == "json" else ""
                file.write(f"{at},{text}\n" if suffix == "csv" else f"{comma}{json.dumps({'a': at, 'b': text})}\n")
            file.write("]" if suffix == "json" else "")
    found, growth = map(int, run(_IN_LITTLE_MEMORY, str(tmp_path), path.name).split())
    assert found == rows
    assert growth < 330e6, f"{growth / 1e6:.0f} MB"


def test_bytes_of_rows_are_counted_by_their_content() -> None:
    table = pa.table({"a": [1, 2], "b": ["", "x" * 100], "c": [[1.0], [1.0, 2.0]], "d": [None, "y"]})
    assert row_bytes(table).tolist() == [8 + 0 + 8 + 0, 8 + 100 + 16 + 1]
