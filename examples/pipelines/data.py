"""Writes the data that the example pipelines read: `python -m examples.pipelines.data [NAME ...]`.

All of it is real, and comes out of packages: three sets out of scikit-learn, which is installed, and one out of the
wheel of `aeon`, which pip fetches once and keeps under `.cache/examples`. SOURCES says where each is from.
"""

import csv
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parents[1] / ".cache" / "examples"
AEON: Final = "aeon==1.6.0"
SERIES: Final = "aeon/datasets/data/BasicMotions/BasicMotions_{part}.ts"
WINDOW, STRIDE = 50, 10
"""Of a recording, in steps of a tenth of a second: five seconds, one second apart."""
MEASURED: Final = ("age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu")
"""scikit-learn's columns by the names of Efron et al. 2004; it calls the last six s1 to s6."""
SOURCES: Final[Mapping[str, str]] = {
    "digit_images": "Optical Recognition of Handwritten Digits, its test set (Alpaydin, Kaynak 1998; UCI; CC BY 4.0), "
    "as scikit-learn bundles it",
    "motion": "BasicMotions of the UEA archive (Clements 2016; no licence is stated, published for research), as the "
    "wheel of aeon bundles it",
    "progression": "Diabetes data of Efron, Hastie, Johnstone and Tibshirani 2004 (no licence is stated), as "
    "scikit-learn bundles it",
    "odd_cells": "Breast Cancer Wisconsin, Diagnostic (Wolberg, Street, Mangasarian 1993; UCI; CC BY 4.0), as "
    "scikit-learn bundles it",
}


def digit_images(folder: Path) -> None:
    """Write 1,797 grey pictures of 8 x 8 pixels, a folder a digit."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    for label in found.target_names:
        (folder / str(label)).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(found.images, found.target, strict=True)):
        grey = np.minimum(image * 16, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / str(label) / f"{number:04}.png")


def motion(folder: Path, wheel: Path | None = None) -> None:
    """Write windows (n, 50, 6) of a watch's accelerometer and gyroscope, with their motion and their recording."""
    windows: list[npt.NDArray[np.float32]] = []
    motions: list[str] = []
    recordings: list[int] = []
    with zipfile.ZipFile(wheel or _fetched_wheel()) as archive:
        lines = [line for part in ("TRAIN", "TEST") for line in _recordings(archive, part)]
    for number, line in enumerate(lines):
        *dimensions, label = line.split(":")
        series = np.array([one.split(",") for one in dimensions], dtype=np.float32).T
        starts = range(0, len(series) - WINDOW + 1, STRIDE)
        windows += [series[start : start + WINDOW] for start in starts]
        motions += [label.lower()] * len(starts)
        recordings += [number] * len(starts)
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "windows.npz", window=np.stack(windows), motion=motions, recording=recordings)


def progression(folder: Path) -> None:
    """Write 442 patients with what was measured of them, and whether the disease went on fast within a year."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    rows: list[list[Any]] = [
        [number, *(f"{value:g}" for value in values), "fast" if score > np.median(found.target) else "slow"]
        for number, (values, score) in enumerate(zip(found.data, found.target, strict=True))
    ]
    _write_csv(folder / "patients.csv", ["patient", *MEASURED, "course"], rows)


def odd_cells(folder: Path) -> None:
    """Write 569 samples of cells, and which are held out: the malignant ones, and a third of the others."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    is_odd = (found.target == 0).astype(int)
    names = [str(name).replace(" ", "_") for name in found.feature_names]
    rows = [[n, *(f"{one:g}" for one in values), is_odd[n]] for n, values in enumerate(found.data)]
    _write_csv(folder / "cells.csv", ["sample", *names, "is_malignant"], rows)
    usual = np.random.default_rng(0).permutation(np.flatnonzero(is_odd == 0))
    held_out = sorted([*np.flatnonzero(is_odd), *usual[: len(usual) // 3]])
    _write_csv(folder / "held-out.csv", ["sample"], [[number] for number in held_out])


WRITERS: Final[Mapping[str, Callable[[Path], None]]] = {
    "digit_images": digit_images,
    "motion": motion,
    "progression": progression,
    "odd_cells": odd_cells,
}


def write_data(name: str) -> Path:
    """Write the data of a pipeline beside its file, unless it is there; return the folder."""
    folder = HERE / name / "data"
    if not folder.is_dir():
        unfinished = folder.with_name(".data")
        shutil.rmtree(unfinished, ignore_errors=True)
        WRITERS[name](unfinished)
        unfinished.rename(folder)
    return folder


def _recordings(archive: zipfile.ZipFile, part: str) -> list[str]:
    """Return the lines of one file of recordings: six dimensions and a label, divided by colons."""
    return archive.read(SERIES.format(part=part)).decode().split("@data", 1)[1].split()


def _fetched_wheel() -> Path:
    name, _, version = AEON.partition("==")
    path = CACHE / f"{name}-{version}-py3-none-any.whl"
    if not path.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), AEON]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    return path


def _write_csv(path: Path, names: list[str], rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


if __name__ == "__main__":
    for one in sys.argv[1:] or WRITERS:
        print(f"{write_data(one)}: {SOURCES[one]}")
