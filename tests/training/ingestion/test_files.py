"""Files of each form: whole sets, folders that name columns, and damage in the middle."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal_training.errors import DataError
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.source import Reading

ROWS = [{"a": at, "b": at / 4 + 0.5, "c": f"row {at}"} for at in range(40)]
_AVRO = {
    "type": "record",
    "name": "row",
    "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "double"}, {"name": "c", "type": "string"}],
}


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=10, compression="none", use_dictionary=False)
    return file.getvalue()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    return "".join(f"{line}\n" for line in lines).encode()


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def as_list(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def as_avro(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(_AVRO), rows, codec="deflate", sync_interval=40)
    return file.getvalue()


def as_npz(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.array([row[name] for row in rows]) for name in rows[0]})
    return file.getvalue()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "parquet": as_parquet,
    "csv": as_csv,
    "jsonl": as_lines,
    "json": as_list,
    "avro": as_avro,
    "npz": as_npz,
}


def read(folder: Path, path: str, **options: Any) -> tuple[pa.Table, Reading]:
    reading = Reading(folder, **{name: options.pop(name) for name in list(options) if hasattr(Reading, name)})
    source = FileSource(path=path, **options)
    return pa.concat_tables(source.tables(reading)), reading


@pytest.mark.parametrize("suffix", FORMS)
def test_each_form_gives_the_rows_that_were_written_some_at_a_time(tmp_path: Path, suffix: str) -> None:
    for at in range(4):
        (tmp_path / f"part-{at}.{suffix}").write_bytes(FORMS[suffix](ROWS[at * 10 : at * 10 + 10]))
    found, reading = read(tmp_path, ".", batch_rows=7)
    assert found.to_pylist() == ROWS
    assert max(map(len, FileSource(path=".").tables(reading))) <= 7


@pytest.mark.parametrize("url", ["file://{folder}", "memory://rows"])
def test_files_are_read_from_any_file_system_by_its_url(tmp_path: Path, url: str) -> None:
    url = url.format(folder=tmp_path)
    filesystem, root = fsspec.core.url_to_fs(url)
    filesystem.makedirs(root, exist_ok=True)
    with filesystem.open(f"{root}/a.csv", "wb") as file:
        file.write(as_csv(ROWS))
    before = FileSource(path=f"{url}/a.csv").fingerprint(Reading(tmp_path))
    found, reading = read(tmp_path, url)
    assert found.to_pylist() == ROWS
    with filesystem.open(f"{root}/a.csv", "wb") as file:
        file.write(as_csv(ROWS[1:]))
    assert FileSource(path=f"{url}/a.csv").fingerprint(reading) != before


def test_packed_files_and_patterns_are_read_by_their_endings(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(as_csv(ROWS[:20])))
    (tmp_path / "b.csv").write_bytes(as_csv(ROWS[20:]))
    (tmp_path / "c.txt").write_text("of no use")
    assert read(tmp_path, "*.csv*")[0].to_pylist() == ROWS


def test_folders_that_name_columns_become_columns(tmp_path: Path) -> None:
    for year, town in ((2024, "Aachen"), (2025, "S%C3%A3o Paulo"), (2025, "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"lake/year={year}/town={town}"
        folder.mkdir(parents=True)
        (folder / "part.parquet").write_bytes(as_parquet(ROWS[:2]))
    (tmp_path / "lake/_SUCCESS.csv").write_text("no rows")
    found, _ = read(tmp_path, "lake")
    assert found["year"].to_pylist() == [2024, 2024, 2025, 2025, 2025, 2025]
    assert set(found["town"].to_pylist()) == {"Aachen", "São Paulo", None}
    assert read(tmp_path, "lake", columns={"year": "string"})[0]["year"][0].as_py() == "2024"
    (tmp_path / "lake/stray.parquet").write_bytes(as_parquet(ROWS))
    with pytest.raises(DataError, match="stray|folders name the columns"):
        read(tmp_path, "lake")


def test_arrays_of_more_axes_become_columns_of_tensors(tmp_path: Path) -> None:
    x = np.arange(5 * 3 * 2, dtype=np.float32).reshape(5, 3, 2)
    times = np.array(["2026-01-01T00:00:01", "NaT"] * 2 + ["NaT"], dtype="datetime64[us]")
    np.savez_compressed(tmp_path / "x.npz", x=x, fortran=np.asfortranarray(x), big=x[:, 0, 0].astype(">f4"), at=times)
    found, _ = read(tmp_path, "x.npz", batch_rows=2)
    for name in ("x", "fortran"):
        assert np.array_equal(np.concatenate([one.to_numpy_ndarray() for one in found[name].chunks]), x)
    assert found["big"].to_pylist() == x[:, 0, 0].tolist()
    assert found["at"].null_count == 3
    np.savez(tmp_path / "y.npz", x=x, y=x[:2])
    with pytest.raises(DataError, match="y.npz.*same number of rows.*x 5, y 2"):
        read(tmp_path, "y.npz")
    np.savez(tmp_path / "z.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="z.npz.*the array x holds object"):
        read(tmp_path, "z.npz")


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _flip(data: bytes) -> bytes:
    at = len(data) * 9 // 10
    return data[:at] + bytes(one ^ 0xFF for one in data[at : at + 10]) + data[at + 10 :]


_DAMAGE = {
    "parquet": (_cut, None, 0),
    "csv": (lambda data: data.replace(b"7,2.25,", b"seven,2.25,"), 8, 9),
    "jsonl": (lambda data: data.replace(b'"a": 7', b'"a": 7 7'), 8, 9),
    "json": (_cut, 7, 6),
    "avro": (_flip, None, None),
    "npz": (_cut, None, 0),
}


@pytest.mark.parametrize("suffix", FORMS)
def test_a_damaged_file_in_the_middle_of_a_set_ends_a_strict_run_by_its_name(tmp_path: Path, suffix: str) -> None:
    _write_damaged(tmp_path, suffix)
    row = _DAMAGE[suffix][1]
    with pytest.raises(DataError, match=f"part-1.{suffix}" + (f", row {row}:" if row else "")):
        read(tmp_path, ".")


@pytest.mark.parametrize("suffix", FORMS)
def test_else_what_is_damaged_is_refused_and_all_else_is_read(tmp_path: Path, suffix: str) -> None:
    _write_damaged(tmp_path, suffix)
    found, reading = read(tmp_path, ".", is_strict=False)
    whole, refused = found.to_pylist(), reading.refused
    assert whole[:10] == ROWS[:10]
    assert whole[-10:] == ROWS[20:30]
    kept = _DAMAGE[suffix][2]
    assert len(whole) == 20 + kept if kept is not None else 20 < len(whole) < 30
    assert reading.refused_count >= 1
    assert refused[0].source.endswith(f"part-1.{suffix}")
    assert suffix == "avro" or refused[0].row == _DAMAGE[suffix][1]


def _write_damaged(folder: Path, suffix: str) -> None:
    for at in range(3):
        data = FORMS[suffix](ROWS[at * 10 : at * 10 + 10] if at != 1 else ROWS[:10])
        (folder / f"part-{at}.{suffix}").write_bytes(_DAMAGE[suffix][0](data) if at == 1 else data)


def test_a_damaged_group_of_a_parquet_file_costs_itself_alone(tmp_path: Path) -> None:
    data = as_parquet(ROWS)
    at = data.index(b"row 13")
    (tmp_path / "a.parquet").write_bytes(data[: at - 60] + bytes(40) + data[at - 20 :])
    found, reading = read(tmp_path, "a.parquet", is_strict=False)
    assert found.to_pylist() == ROWS[:10] + ROWS[20:]
    assert (reading.refused_count, reading.refused[0].row) == (10, 11)


def test_a_cut_packed_file_gives_its_whole_lines_and_no_half_number(tmp_path: Path) -> None:
    rows = [{"a": 1_000_000 + at} for at in range(5_000)]
    for name, form in (("a.csv.gz", as_csv), ("a.jsonl.gz", as_lines)):
        packed = gzip.compress(form(rows))
        (tmp_path / name).write_bytes(packed[: len(packed) // 2])
        found, reading = read(tmp_path, name, is_strict=False)
        assert 0 < len(found) < 5_000
        assert found.to_pylist() == rows[: len(found)]
        assert (reading.refused_count, reading.refused[0].row) == (1, len(found) + 1)


def test_an_unreadable_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing.csv: no file is there"):
        read(tmp_path, "nothing.csv", is_strict=False)
    with pytest.raises(DataError, match="gopher"):
        read(tmp_path, "gopher://hole/a.csv")
    (tmp_path / "a.dat").write_text("a\n1\n")
    with pytest.raises(DataError, match="a.dat.*says no format; add `format`"):
        read(tmp_path, "a.dat")
    assert read(tmp_path, "a.dat", format="csv")[0].to_pylist() == [{"a": 1}]


def test_other_columns_in_a_later_file_are_told_with_both_files(tmp_path: Path) -> None:
    for suffix in ("parquet", "csv", "jsonl", "npz"):
        folder = tmp_path / suffix
        folder.mkdir()
        (folder / f"one.{suffix}").write_bytes(FORMS[suffix]([{"x": 1, "y": 2.5, "z": "a"}] * 3))
        (folder / f"two.{suffix}").write_bytes(FORMS[suffix]([{"x": "b", "y": 2.5, "w": 1}] * 3))
        told = "two.*are not those of .*one.*: w is new, x is string instead of int64, z is missing"
        with pytest.raises(DataError, match=told):
            read(folder, ".")
        found, reading = read(folder, ".", is_strict=False)
        assert (len(found), reading.refused_count, reading.refused[0].row) == (3, 1, None)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "npz"])
def test_wider_columns_hold_the_rows_of_all_files(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(FORMS[suffix]([{"x": 1, "z": 5}] * 2))
    (tmp_path / f"b.{suffix}").write_bytes(FORMS[suffix]([{"z": 6, "x": 1.5, "y": "new"}] * 2))
    found, _ = read(tmp_path, ".", schema_change="widen")
    assert found.to_pylist() == [{"x": 1.0, "z": 5, "y": None}] * 2 + [{"x": 1.5, "z": 6, "y": "new"}] * 2
    (tmp_path / f"c.{suffix}").write_bytes(FORMS[suffix]([{"x": "no number"}]))
    with pytest.raises(DataError, match="c.*after .*a.*x is string instead of double, and no type holds both"):
        read(tmp_path, ".", schema_change="widen")


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    for form, suffix in ((as_parquet, "parquet"), (as_csv, "csv")):
        (tmp_path / f"a.{suffix}").write_bytes(form([{"x": 1, "y": 2}]))
        (tmp_path / f"b.{suffix}").write_bytes(form([{"y": 3, "x": 4}]))
        assert read(tmp_path, f"*.{suffix}")[0].to_pylist() == [{"x": 1, "y": 2}, {"x": 4, "y": 3}]


def test_types_that_are_no_types_are_told_with_the_field() -> None:
    with pytest.raises(ValueError, match="a: 'int' is no type of a column, expected one like int64"):
        FileSource(path="a.csv", columns={"a": "int"})
