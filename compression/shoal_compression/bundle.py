"""Reads bundle folders, which training writes: what `bundle.json` says, the models, and the samples beside them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Form, Model
from shoal_compression.sample_files import read_samples
from shoal_contract.ids import Name, Sha256
from shoal_contract.manifest import TensorSpec

BUNDLE_FILE: Final = "bundle.json"
KERAS_FILE: Final = "model.keras"
ONNX_FILE: Final = "model.onnx"
CALIBRATION_FILE: Final = "calibration.npz"
TEST_FILE: Final = "test.npz"
TRAIN_FILE: Final = "train.npz"
MODEL_FILES: Final[dict[Form, str]] = {"onnx": ONNX_FILE, "keras": KERAS_FILE}


class _FileHash(BaseModel):
    """What `bundle.json` says of one file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: Sha256


class _Description(BaseModel):
    """The part of `bundle.json` that compression needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    seed: int
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    batching: Literal["none"] | None = None
    files: dict[str, _FileHash]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose description is read; its files are seen to be as they were written when they are asked for."""

    folder: Path
    about: _Description

    @property
    def name(self) -> str:
        """Of the model."""
        return self.about.name

    @property
    def seed(self) -> int:
        """By which samples are drawn."""
        return max(0, self.about.seed)

    def models(self) -> Mapping[Form, Model]:
        """Return the network in each form that there is, at least one.

        Raises:
            SourceError: A file is missing or altered, or there is none.
        """
        about, made = self.about, dict[Form, Model]()
        for form, name in MODEL_FILES.items():
            path = self.file(name)
            if path is not None:
                made[form] = Model(form, path.read_bytes(), about.inputs, about.outputs, batching=about.batching)
        if not made:
            expected = ", ".join(MODEL_FILES.values())
            raise SourceError(f"reading {self.folder}: neither of {expected}; write the bundle again")
        return made

    def samples(self, name: str) -> Samples | None:
        """Return the samples of a file; None: the bundle has no such file.

        Raises:
            SourceError: The file is missing or altered.
            DataError: It holds no samples of the model.
        """
        path = self.file(name)
        return None if path is None else read_samples(path, self.about.inputs)

    def file(self, name: str) -> Path | None:
        """Return where a file of the bundle is; None: the bundle has no such file.

        Raises:
            SourceError: The file is missing or altered.
        """
        if name not in self.about.files:
            return None
        path, expected = self.folder / name, self.about.files[name].sha256
        if not path.is_file():
            raise SourceError(f"reading the bundle: {path} is missing; write the bundle again")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            msg = f"reading the bundle: {path} has SHA-256 {found}, expected {expected}"
            raise SourceError(f"{msg}; it was altered after training, write the bundle again")
        return path


def read_bundle(folder: Path) -> Bundle:
    """Read what a bundle says of itself.

    Raises:
        SourceError: `bundle.json` is missing or malformed.
    """
    path = folder / BUNDLE_FILE
    try:
        return Bundle(folder, _Description.model_validate_json(path.read_bytes()))
    except OSError as error:
        raise SourceError(f"reading the bundle: {error}; name the folder that training wrote") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SourceError(f"reading the bundle: {path}: {where}: {first['msg']}; write the bundle again") from error
