"""Labelled examples: taken whole and sound, or refused with what is wrong; counted without reading them all again."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.fixtures.tiny_trainer import examples, write_examples

from shoal_agent.federated import DatasetError, Datasets
from shoal_agent.federated.dataset import MAX_DATASETS, read_examples

X, Y = examples(6)


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    return Datasets(tmp_path / "datasets")


def test_examples_are_kept_and_counted(datasets: Datasets, tmp_path: Path) -> None:
    assert datasets.add("digits", write_examples(tmp_path / "labelled.npz", 6)) == 6
    x, y = read_examples(datasets.path("digits"))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    assert datasets.sizes() == {"digits": 6}


def test_adding_under_the_same_name_replaces(datasets: Datasets, tmp_path: Path) -> None:
    datasets.add("digits", write_examples(tmp_path / "a.npz", 6))
    assert datasets.sizes() == {"digits": 6}
    datasets.add("digits", write_examples(tmp_path / "b.npz", 9))
    assert datasets.sizes() == {"digits": 9}


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X[:5]},
        {"x": X[:0], "y": Y[:0]},
        {"y": -Y - 1},
        {"y": Y.astype(np.float32)},
        {"y": Y.reshape(3, 2)},
        {"y": Y.astype(np.int64) + 2**40},
        {"y": Y.astype(np.uint64) + 2**63},
        {"x": np.where(X > 0, X, np.nan)},
        {"x": X.astype(np.float64) * 1e300},
        {"x": X.astype(np.int32)},
        {"x": np.array(["a"] * 6)},
        {"x": np.float32(1)},
    ],
)
def test_examples_of_another_form_are_refused(
    datasets: Datasets, tmp_path: Path, arrays: dict[str, NDArray[Any]]
) -> None:
    with pytest.raises(DatasetError, match="expected finite float x") as refused:
        datasets.add("digits", write_examples(tmp_path / "bad.npz", 6, **arrays))
    assert "shoal-agent data add" in refused.value.remedy
    assert datasets.sizes() == {}


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()


def _objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{}], dtype=object), y=Y[:1])
    return buffer.getvalue()


def _without_labels() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=X)
    return buffer.getvalue()


def _torn() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=X, y=Y)
    whole = bytearray(buffer.getvalue())
    whole[60:90] = bytes(30)
    return bytes(whole)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", _npy(), _objects(), _without_labels(), _torn()])
def test_a_file_that_is_no_npz_of_x_and_y_is_refused(datasets: Datasets, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="bad.npz"):
        datasets.add("digits", path)


def test_a_missing_file_is_refused(datasets: Datasets, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        datasets.add("digits", tmp_path / "none.npz")


@pytest.mark.parametrize("name", ["", "../digits", "a/b", "Digits", "x" * 64, "digits\n"])
def test_a_name_that_is_no_name_is_refused(datasets: Datasets, tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="adding dataset"):
        datasets.add(name, write_examples(tmp_path / "a.npz", 6))


def test_a_damaged_dataset_counts_as_empty_and_a_stray_file_not_at_all(datasets: Datasets, tmp_path: Path) -> None:
    datasets.add("digits", write_examples(tmp_path / "a.npz", 6))
    datasets.path("digits").write_bytes(b"damaged")
    write_examples(datasets.path("Not A Name"), 6)
    (datasets.path("digits").parent / "notes.txt").write_text("hello")
    assert datasets.sizes() == {"digits": 0}


def test_no_more_datasets_are_told_of_than_a_report_may_hold(datasets: Datasets, tmp_path: Path) -> None:
    source = write_examples(tmp_path / "a.npz", 1)
    for number in range(MAX_DATASETS + 3):
        datasets.add(f"set{number}", source)
    assert len(datasets.sizes()) == MAX_DATASETS


def test_a_dataset_is_read_again_only_when_its_file_has_changed(
    datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.add("digits", write_examples(tmp_path / "a.npz", 6))
    assert datasets.sizes() == {"digits": 6}
    with monkeypatch.context() as reading:
        reading.setattr(np, "load", None)
        assert datasets.sizes() == {"digits": 6}

    datasets.add("digits", write_examples(tmp_path / "b.npz", 7))
    assert datasets.sizes() == {"digits": 7}
    datasets.path("digits").unlink()
    assert datasets.sizes() == {}
