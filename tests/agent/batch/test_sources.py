"""Every kind of input: what it gives, from every place on, and what a bad row costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.agent.batch.jobs import WRITERS, records, table, write_avro, write_csv, write_json, write_parquet

from shoal_agent.batch import BatchError
from shoal_agent.batch.sources import Position, Source, open_sources
from shoal_agent.batch.sources.image_source import ImageSource, images_in

ALL = ("id", "a", "b", "c", "d")


def source_of(path: Path) -> Source:
    (found,) = open_sources([str(path)], None)
    return found


def read(source: Source, after: Position | None = None, size: int = 30) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows from a place on, with their numbers."""
    found = []
    for chunk in source.chunks(ALL, size, after):
        lists = {name: column.tolist() for name, column in chunk.columns.items()}
        rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        found += list(zip(chunk.rows.tolist(), rows, strict=True))
    return found


def bad(source: Source, size: int = 30) -> dict[int, str]:
    return {number: reason for chunk in source.chunks(ALL, size, None) for number, reason in chunk.bad.items()}


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_every_row_comes_once_and_in_order(suffix: str, tmp_path: Path) -> None:
    columns = table(250)
    source = source_of(WRITERS[suffix](tmp_path / f"in{suffix}", columns))
    assert source.columns() == ALL
    found = read(source)
    assert [number for number, _ in found] == list(range(1, 251))
    for (_, row), expected in zip(found, records(columns), strict=True):
        assert row["id"] == expected["id"]
        assert [float(row[name]) for name in "abcd"] == [expected[name] for name in "abcd"]


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_reading_goes_on_from_every_place(suffix: str, tmp_path: Path) -> None:
    source = source_of(WRITERS[suffix](tmp_path / f"in{suffix}", table(250)))
    whole, seen = read(source, size=7), 0
    for chunk in source.chunks(ALL, 7, None):
        seen += len(chunk.rows)
        assert read(source, chunk.after, size=11) == whole[seen:]
        assert 0 < chunk.done_bytes <= source.size_bytes
    assert seen == 250


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_chunk_is_never_larger_than_asked(suffix: str, tmp_path: Path) -> None:
    source = source_of(WRITERS[suffix](tmp_path / f"in{suffix}", table(250)))
    assert max(len(chunk.rows) for chunk in source.chunks(ALL, 9, None)) == 9


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_only_the_columns_that_are_asked_for_are_given(suffix: str, tmp_path: Path) -> None:
    source = source_of(WRITERS[suffix](tmp_path / f"in{suffix}", table(5)))
    (chunk,) = source.chunks({"b", "nosuch"}, 10, None)
    assert set(chunk.columns) - {"nosuch"} == {"b"}


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_another_content_has_another_identity(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"in{suffix}"
    before = source_of(WRITERS[suffix](path, table(5))).identity
    assert source_of(path).identity == before
    assert source_of(WRITERS[suffix](path, table(6))).identity != before


def test_bad_lines_of_csv_cost_themselves_alone(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "in.csv", table(3))
    with path.open("ab") as file:
        file.write(b"few,1\r\n\r\nid-5,1,2,3,4,5\r\nid-\xff,1,2,3,4\r\n" + b'"two\nlines",1,2,3,4\r\n')
    source = source_of(path)
    assert bad(source) == {4: "2 fields found, 5 expected", 5: "6 fields found, 5 expected", 6: "it is no UTF-8"}
    assert [(number, row["id"]) for number, row in read(source)][3:] == [(7, "two\nlines")]


def test_a_csv_field_beyond_its_bound_is_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "in.csv", table(1))
    with path.open("a") as file:
        file.write("x" * 200_000 + ",1,2,3,4\r\nlast,1,2,3,4\r\n")
    assert "field larger than field limit" in bad(source_of(path))[2]
    assert read(source_of(path))[-1] == (3, {"id": "last", "a": "1", "b": "2", "c": "3", "d": "4"})


@pytest.mark.parametrize("content", ["", "\n", "a,a\n1,2\n"])
def test_a_csv_without_a_header_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(content)
    with pytest.raises(BatchError, match="names of columns expected, each once"):
        source_of(tmp_path / "in.csv").columns()


def test_a_mark_before_the_header_is_no_part_of_a_name_and_tabs_part_a_tsv(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_bytes(b"\xef\xbb\xbfid\ta\nx,y\t1\n")
    source = source_of(tmp_path / "in.tsv")
    assert source.columns() == ("id", "a")
    assert read(source) == [(1, {"id": "x,y", "a": "1"})]


def test_an_endless_line_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.batch.sources.lines.MAX_LINE_BYTES", 1000)
    (tmp_path / "in.jsonl").write_text('{"a": 1}\n' + "x" * 5000)
    with pytest.raises(BatchError, match="at byte 9: a line of more than 1000 bytes"):
        read(source_of(tmp_path / "in.jsonl"))


def test_bad_lines_of_json_cost_themselves_alone(tmp_path: Path) -> None:
    path = write_json(tmp_path / "in.jsonl", table(2))
    with path.open("a") as file:
        file.write('{"id": \n\n[1, 2]\n' + "[" * 100_000 + '\n{"id": "last"}')
    found = bad(source_of(path))
    assert found.keys() == {3, 5, 6}
    assert "it is no JSON" in found[3]
    assert found[5] == "it is JSON, but a list; an object expected"
    assert read(source_of(path))[-1] == (7, {"id": "last", "a": None, "b": None, "c": None, "d": None})


def test_a_damaged_row_group_costs_its_own_rows(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = write_parquet(tmp_path / "in.parquet", table(300))
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(1).column(1)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    found = bad(source_of(path))
    assert found.keys() == set(range(101, 201))
    assert "row group 1 is damaged" in found[150]
    assert [number for number, _ in read(source_of(path))] == [*range(1, 101), *range(201, 301)]


def test_nulls_lists_and_dictionaries_of_parquet_become_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "a": pa.array([1, None, 3]),
        "b": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "c": pa.array(["x", "y", "x"]).dictionary_encode(),
        "d": pa.array([True, None, False]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    (chunk,) = source_of(tmp_path / "in.parquet").chunks(ALL, 10, None)
    np.testing.assert_array_equal(chunk.columns["a"], [1.0, np.nan, 3.0])
    assert [one.tolist() for one in chunk.columns["b"]] == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert chunk.columns["c"].tolist() == ["x", "y", "x"]
    assert chunk.columns["d"].tolist() == [True, None, False]


@pytest.mark.parametrize("suffix", [".parquet", ".avro"])
@pytest.mark.parametrize("cut", [0, 40])
def test_a_file_that_is_none_or_cut_off_says_so(suffix: str, cut: int, tmp_path: Path) -> None:
    path = WRITERS[suffix](tmp_path / f"in{suffix}", table(100))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BatchError, match="give a whole|no whole|reading"):
        read(source_of(path))


def test_an_avro_file_that_ends_amid_a_block_gives_what_is_whole_first(tmp_path: Path) -> None:
    path = write_avro(tmp_path / "in.avro", table(250))
    path.write_bytes(path.read_bytes()[:-30])
    rows: list[int] = []
    with pytest.raises(BatchError, match="it is no whole Avro file"):
        rows.extend(row for chunk in source_of(path).chunks(ALL, 10, None) for row in chunk.rows.tolist())
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) > 100


def test_images_come_in_order_and_one_that_can_not_be_read_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.jpeg", "a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    paths = images_in(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == ["a.jpg", "b.PNG", "deep/a.jpeg"]
    source = ImageSource("folder", paths, "image")
    paths[1].unlink()
    chunks = list(source.chunks({"image"}, 2, None))
    assert [chunk.columns["image"].tolist() for chunk in chunks] == [[b"a.jpg"], [b"deep/a.jpeg"]]
    assert chunks[0].bad.keys() == {2}
    assert chunks[0].bad_files == {2: str(paths[1])}
    assert chunks[1].rows.tolist() == [3]
    (rest,) = source.chunks({"image"}, 2, chunks[0].after)
    assert rest.columns["image"].tolist() == [b"deep/a.jpeg"]


def test_a_chunk_of_images_ends_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.batch.sources.image_source._CHUNK_BYTES", 100)
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(bytes(60))
    chunks = list(ImageSource("folder", images_in(tmp_path), "image").chunks({"image"}, 32, None))
    assert [len(chunk.rows) for chunk in chunks] == [2, 2, 1]


def test_patterns_and_folders_are_opened_by_their_suffixes(tmp_path: Path) -> None:
    for number in (2, 1):
        write_csv(tmp_path / f"{number}.csv", table(1))
        (tmp_path / f"{number}.png").write_bytes(b"image")
    found = open_sources([f"{tmp_path}/*.csv", f"{tmp_path}/*.png", str(tmp_path)], "image")
    assert [source.name for source in found] == [
        f"{tmp_path}/1.csv", f"{tmp_path}/2.csv", f"{tmp_path}/1.png and 1 more", str(tmp_path)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("*.nosuch", "no file matches"),
        ("nosuch.csv", "looking at the input"),
        ("x.pickle", "suffix '.pickle' found"),
        ("x.png", "declares no input made of them"),
        ("", "none found"),
    ],
)
def test_what_can_be_no_input_is_refused(name: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "x.pickle").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BatchError, match=complaint.replace("(", r"\(")):
        open_sources([f"{tmp_path}/{name or 'empty'}"], None)
