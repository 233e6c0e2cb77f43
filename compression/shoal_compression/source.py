"""Reads the bundle folder to compress: the models, the calibration inputs and the held-out samples."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_compression.errors import SourceError
from shoal_contract.ids import Name, Sha256
from shoal_contract.manifest import TensorSpec

BUNDLE_FILE = "bundle.json"
KERAS_FILE = "model.keras"
ONNX_FILE = "model.onnx"
CALIBRATION_FILE = "calibration.npz"
TEST_FILE = "test.npz"
NEEDED_FILES = (KERAS_FILE, ONNX_FILE, CALIBRATION_FILE, TEST_FILE)


class FileHash(BaseModel):
    """What `bundle.json` says of one file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: Sha256


class _Description(BaseModel):
    """The part of `bundle.json` that compression needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    seed: int
    inputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=1)
    files: dict[str, FileHash]


@dataclass(frozen=True)
class Source:
    """What a technique works on: a float32 classifier with one input and one output."""

    folder: Path
    name: str
    seed: int
    input: TensorSpec
    output: TensorSpec
    calibration_x: npt.NDArray[np.float32]
    """(n, …) representative inputs."""
    test_x: npt.NDArray[np.float32]
    """(m, …) held-out inputs."""
    test_y: npt.NDArray[np.int32]
    """(m,) their labels."""

    @property
    def keras_path(self) -> Path:
        """The Keras source."""
        return self.folder / KERAS_FILE

    @property
    def onnx_path(self) -> Path:
        """The float32 original that every variant is measured against."""
        return self.folder / ONNX_FILE


def read_source(folder: Path) -> Source:
    """Read a bundle and check the files that are used against their hashes.

    Raises:
        SourceError: `bundle.json` is missing or malformed, or a file is missing, altered or without its arrays.
    """
    described = _read_description(folder / BUNDLE_FILE)
    for name in NEEDED_FILES:
        check_file(folder, name, described.files)
    (calibration_x,) = _read_arrays(folder / CALIBRATION_FILE, "x")
    test_x, test_y = _read_arrays(folder / TEST_FILE, "x", "y")
    return Source(
        folder=folder,
        name=described.name,
        seed=described.seed,
        input=described.inputs[0],
        output=described.outputs[0],
        calibration_x=calibration_x.astype(np.float32),
        test_x=test_x.astype(np.float32),
        test_y=test_y.astype(np.int32),
    )


def _read_description(path: Path) -> _Description:
    try:
        return _Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SourceError(f"reading the bundle to compress: {error}; name the folder that training wrote") from error
    except ValidationError as error:
        raise SourceError(f"reading the bundle to compress: {path} has another form: {error}") from error


def check_file(folder: Path, name: str, files: Mapping[str, FileHash]) -> None:
    """See that a file of a bundle is there, as it was written.

    Raises:
        SourceError: It is missing or altered.
    """
    path = folder / name
    if name not in files or not path.is_file():
        raise SourceError(f"reading the bundle to compress: {path} is missing; write the bundle again")
    found, expected = hashlib.sha256(path.read_bytes()).hexdigest(), files[name].sha256
    if found != expected:
        raise SourceError(
            f"reading the bundle to compress: {path} has SHA-256 {found}, expected {expected}; "
            "it was altered after training, write the bundle again"
        )


def _read_arrays(path: Path, *keys: str) -> list[npt.NDArray[np.generic]]:
    with np.load(path, allow_pickle=False) as arrays:
        missing = [key for key in keys if key not in arrays or len(arrays[key]) == 0]
        if missing:
            raise SourceError(f"reading {path}: no values under {missing}, found {sorted(arrays)}")
        return [arrays[key] for key in keys]
