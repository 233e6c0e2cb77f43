"""What is compressed: bundles and bare files with samples, and what is said of those that are not right."""

from pathlib import Path

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_compression.errors import DataError, SourceError
from shoal_compression.original import read_original
from shoal_compression.sample_files import read_samples
from shoal_contract.manifest import TensorSpec

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
CLASSIFY = tiny.FILES / "classify.onnx"


def samples(folder: Path, **arrays: object) -> Path:
    path = folder / "samples.npz"
    np.savez(path, **arrays)
    return path


def test_a_bundle_gives_its_network_in_every_form_with_its_held_out_samples(bundle_dir: Path) -> None:
    original = read_original(bundle_dir)
    assert (original.name, set(original.models)) == ("digits", {"onnx", "keras"})
    assert original.reference.form == "onnx"
    assert original.data.test.labels is not None


def test_a_bare_file_says_itself_how_it_is_called_and_half_of_its_samples_are_held_out(tmp_path: Path) -> None:
    labels = np.arange(20) % 3
    path = samples(tmp_path, x=X, y=labels, **{"slice/site": np.where(labels == 0, "a", "b")})
    original = read_original(CLASSIFY, path)
    [spec] = original.reference.inputs
    assert (spec.name, spec.shape) == ("x", (-1, 4))
    assert (len(original.data.calibration), len(original.data.test)) == (10, 10)
    both = np.concatenate([original.data.calibration.inputs["x"], original.data.test.inputs["x"]])
    assert {tuple(row) for row in both} == {tuple(row) for row in X}
    assert set(original.data.test.slices["site"]) <= {"a", "b"}
    assert original.data.train is original.data.calibration


def test_without_labels_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    assert read_original(CLASSIFY, samples(tmp_path, x=X)).data.train is None


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": X}, r"arrays z found, x missing; name an array for each input"),
        ({"x": X[:, :3]}, r"shape \[3\] of a sample found, expected \[4\]"),
        ({"x": X.astype(str)}, r"expected numbers"),
        ({"x": np.full_like(X, np.nan)}, r"NaN or infinity"),
        ({"x": X[:1]}, r"1 sample found, expected 2 or more"),
        ({"x": X, "y": np.full(20, "a")}, r"samples\.npz: labels: <U1 found, expected numbers"),
        ({"x": X, "y": np.arange(20) % 3 + 1}, r"labels: int64 1 to 3 found beside 3 outputs, expected 0 to 2"),
        ({"x": np.float32(1)}, r"a single value without an axis found"),
        ({"x": X, "y": np.array([{}] * 20)}, r"objects are in it; write it again with numpy\.savez"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_original(CLASSIFY, samples(tmp_path, **arrays))


def test_a_file_that_is_no_model_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such file"):
        read_original(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(SourceError, match=r"reading .*broken\.onnx: .*give a file in the form onnx that loads"):
        read_original(tmp_path / "broken.onnx")
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"'\.h5' found, expected one of \.onnx, \.tflite, \.keras"):
        read_original(tmp_path / "model.h5")
    with pytest.raises(DataError, match="no samples; give --calibration"):
        read_original(CLASSIFY)
    with pytest.raises(DataError, match="write it with numpy.savez"):
        read_original(CLASSIFY, tmp_path / "none.npz")


def test_a_number_that_is_none_is_told_by_its_row_in_the_file(tmp_path: Path) -> None:
    broken = X.copy()
    broken[17, 2] = np.nan
    with pytest.raises(DataError, match=r"samples in .*samples\.npz: input x: NaN or infinity in 1 samples, first 17;"):
        read_original(CLASSIFY, samples(tmp_path, x=broken))


INTEGERS = TensorSpec(name="x", datatype="UINT8", shape=(-1, 2))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.7, r"x: 0\.7 in sample 1 would become 0 as uint8; prepare the samples"),
        (256, r"x: 256 in sample 1 would become 0 as uint8"),
        (np.nan, r"x: nan in sample 1 would become"),
    ],
)
def test_numbers_that_an_input_of_integers_would_change_are_refused(tmp_path: Path, value: float, said: str) -> None:
    x = np.array([[1, 2], [3, value]])
    with pytest.raises(DataError, match=said):
        read_samples(samples(tmp_path, x=x), [INTEGERS])


def test_whole_numbers_are_brought_to_an_input_of_integers(tmp_path: Path) -> None:
    read = read_samples(samples(tmp_path, x=np.array([[1.0, 255.0]])), [INTEGERS])
    assert read.inputs["x"].tolist() == [[1, 255]]
    assert read.inputs["x"].dtype == np.uint8


def test_files_that_are_damaged_or_no_npz_are_refused_with_what_to_write(tmp_path: Path) -> None:
    whole = samples(tmp_path, x=X).read_bytes()
    path = tmp_path / "given.npz"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    np.save(tmp_path / "one.npy", X)
    for content, said in (
        (whole[: len(whole) // 2], "it is damaged: File is not a zip file; write it again with numpy.savez"),
        (bytes(flipped), "it is damaged: Bad CRC-32"),
        ((tmp_path / "one.npy").read_bytes(), r"a single array \(\.npy\) found, expected an \.npz"),
        (b"a,b\n1,2\n", r"a file that begins with b'a,b.* found, expected an \.npz; write it with numpy"),
        (b"", r"an empty file found, expected an \.npz"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_original(CLASSIFY, path)
