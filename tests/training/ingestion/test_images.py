"""Pictures in folders: labels, one declared shape, and files that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from shoal_training.errors import DataError
from shoal_training.ingestion.images import ImageSource
from shoal_training.ingestion.snapshots import SnapshotStore
from shoal_training.ingestion.source import Reading
from shoal_training.ingestion.tensors import numpy_of


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with six pictures of 4 x 6 pixels in two folders, each of one brightness."""
    for label, colours in (("cat", (10, 20, 30)), ("dog", (40, 50, 60))):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for at, colour in enumerate(colours):
            pixels = np.full((4, 6, 3), colour, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{at}.png")
    return tmp_path


def read(folder: Path, **fields: Any) -> tuple[pa.Table, Reading]:
    reading = Reading(folder, **{name: fields.pop(name) for name in list(fields) if hasattr(Reading, name)})
    source = ImageSource(**{"path": "pets", "height": 4, "width": 6, **fields})
    return pa.concat_tables(source.tables(reading)), reading


def test_each_folder_is_a_label_and_each_picture_an_array(pictures: Path) -> None:
    found, _ = read(pictures, batch_rows=4)
    assert found["label"].to_pylist() == ["cat"] * 3 + ["dog"] * 3
    images = numpy_of(found["image"])
    assert (images.shape, images.dtype) == ((6, 4, 6, 3), np.uint8)
    assert images[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50, 60]


def test_pictures_become_the_declared_size_and_colours(pictures: Path) -> None:
    found, _ = read(pictures, height=8, width=3, colours="grey", image_column="x", label_column="y")
    assert found.column_names == ["x", "y"]
    assert numpy_of(found["x"]).shape == (6, 8, 3, 1)
    Image.new("RGB", (9, 9)).save(pictures / "pets/cat/9.png")
    with pytest.raises(DataError, match=r"9.png: 9 x 9 pixels found, 6 x 4 expected"):
        read(pictures, other_sizes="refuse")
    assert len(read(pictures, other_sizes="refuse", is_strict=False)[0]) == 6


def test_files_that_are_no_pictures_are_refused_by_name(pictures: Path) -> None:
    whole = (pictures / "pets/cat/1.png").read_bytes()
    (pictures / "pets/cat/1.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "pets/dog/0.png").write_text("no picture")
    (pictures / "pets/dog/notes.txt").write_text("of no use")
    with pytest.raises(DataError, match="cat/1.png: .*mend the picture"):
        read(pictures)
    found, reading = read(pictures, is_strict=False)
    assert len(found) == 4
    assert [one.source.rsplit("/", 2)[-2:] for one in reading.refused] == [["cat", "1.png"], ["dog", "0.png"]]


def test_a_picture_without_a_label_and_one_of_too_many_pixels_are_errors(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match="0.png: .*exceeds limit"):
        read(pictures)
    Image.new("RGB", (6, 4)).save(pictures / "pets/stray.png")
    with pytest.raises(DataError, match="stray.png: it lies in no folder that says its label"):
        read(pictures)


def test_pictures_are_kept_in_a_snapshot_with_their_shape(pictures: Path) -> None:
    source = ImageSource(path="pets", height=4, width=6)
    before = source.fingerprint(Reading(pictures))
    snapshot = SnapshotStore(pictures / "store").take([source], Reading(pictures))
    assert numpy_of(snapshot.table()["image"]).shape == (6, 4, 6, 3)
    assert "shape=[4,6,3]" in snapshot.record.columns["image"]
    (pictures / "pets/dog/2.png").unlink()
    assert source.fingerprint(Reading(pictures)) != before
