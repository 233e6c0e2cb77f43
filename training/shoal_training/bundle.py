"""The model bundle: the folder in which training hands a version over to the registry and to compression.

`bundle.json` is written last and names each other file by hash, so that a folder with it is whole.
"""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from shoal_contract.ids import Name, Sha256, TensorName
from shoal_contract.limits import MAX_LABELS
from shoal_contract.manifest import TensorSpec, processing_misfit
from shoal_contract.processing import Processing
from shoal_contract.slices import MAX_SLICES
from shoal_training.errors import BundleError
from shoal_training.model_card import ModelCard
from shoal_training.source_code import CodeRecord

BUNDLE_FILE = "bundle.json"
KERAS_FILE = "model.keras"
ONNX_FILE = "model.onnx"
TRAINER_FILE = "trainer.tflite"
WEIGHTS_FILE = "weights.safetensors"
CALIBRATION_FILE = "calibration.npz"
TEST_FILE = "test.npz"
CARD_FILE = "model-card.json"
FILES = (KERAS_FILE, ONNX_FILE, TRAINER_FILE, WEIGHTS_FILE, CALIBRATION_FILE, TEST_FILE)
TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy", "scikit-learn", "safetensors")

FeatureName = Annotated[str, Field(max_length=128)]
"""Of a feature as the baseline names it, like `x[3]`."""
Parameter = bool | int | float | str


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileRecord(_Value):
    """Hash and size of one file of the bundle."""

    sha256: Sha256
    size_bytes: int = Field(ge=1)


class TrainerSpec(_Value):
    """How `trainer.tflite` is to be fed: x (batch_size, …) float32 and y (batch_size,) int32, -1 for no sample."""

    batch_size: int = Field(ge=1)


class SliceSpec(_Value):
    """A part of the samples: those of which `low` < feature <= `high`, or feature = `equals`; a bound may be None."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    feature: FeatureName
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    equals: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Bundle(_Value):
    """What `bundle.json` says of a version."""

    schema_version: Literal[1] = 1
    name: Name
    algorithm: str
    author: str
    framework: str
    parameters: dict[str, Parameter]
    metrics: dict[str, float]
    """`accuracy`, 0..1, of the float32 model on the held-out samples of `test.npz`, where these have labels."""
    tags: tuple[str, ...] = ()
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=16)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=16)]
    labels: Annotated[tuple[str, ...], Field(max_length=MAX_LABELS)]
    batching: Literal["none"] | None = None
    """`none`: a request is one sample, and arrays of the bundle's data have an axis of samples before the model's own.
    None: samples lie along the first axis of the model's inputs and outputs."""
    watched: Annotated[tuple[TensorName, ...] | None, Field(min_length=1, max_length=16)] = None
    """Inputs that are watched for drift; None: all."""
    categorical: Annotated[tuple[FeatureName, ...], Field(max_length=256)] = ()
    """Features whose whole numbers are categories; inputs of whole numbers that have few are taken so without."""
    embedded: TensorName | None = None
    """The output that stands for a sample where drift of images and sounds is looked for; None: its inputs do."""
    slices: Annotated[tuple[SliceSpec, ...], Field(max_length=MAX_SLICES)] = ()
    """Parts of the samples that are counted by themselves."""
    processing: Processing | None = None
    """How inputs are made and what outputs mean, as it goes into the manifest."""
    data_sha256: Sha256
    """Fingerprint of the data that it was trained on."""
    seed: int
    trainer: TrainerSpec | None = None
    """None: devices cannot train it."""
    code: CodeRecord | None = None
    """The commit of the code that trained it, where it is known."""
    tool_versions: dict[str, str]
    files: Annotated[dict[Name, FileRecord], Field(max_length=64)]

    @model_validator(mode="after")
    def _check_processing(self) -> Self:
        problem = "" if self.processing is None else processing_misfit(self.processing, self.inputs, self.outputs)
        if self.processing is not None and self.batching == "none":
            problem = "it makes samples along the first axis, and a request of this model is one sample"
        if problem:
            msg = f"processing: {problem}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_watched(self) -> Self:
        unknown = sorted(set(self.watched or ()) - {spec.name for spec in self.inputs})
        if unknown:
            msg = f"watched: no input {', '.join(unknown)}"
            raise ValueError(msg)
        texts = {spec.name for spec in self.inputs if spec.datatype == "BYTES"}
        wrong = sorted(texts if self.watched is None else texts & set(self.watched))
        if wrong:
            msg = f"watched: {wrong[0]} takes texts, and only numbers are watched; name those inputs"
            raise ValueError(msg)
        if self.embedded is not None and self.embedded not in {spec.name for spec in self.outputs}:
            msg = f"embedded: no output {self.embedded}"
            raise ValueError(msg)
        return self


def read_bundle(folder: Path) -> Bundle:
    """Read `bundle.json` and check every file against its hash.

    Raises:
        BundleError: The folder is no bundle, or a file is missing or altered.
    """
    path = folder / BUNDLE_FILE
    try:
        bundle = Bundle.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"reading a bundle: {path} cannot be read ({error}); train the model first") from error
    except ValidationError as error:
        raise BundleError(f"reading a bundle: {path} does not have the form of a bundle: {error}") from error
    for name, expected in bundle.files.items():
        if not (folder / name).is_file():
            raise BundleError(f"reading the bundle {folder}: {name} is missing; write the bundle again")
        found = record_file(folder / name)
        if found != expected:
            raise BundleError(
                f"reading the bundle {folder}: {name} has SHA-256 {found.sha256}, expected {expected.sha256}; "
                "the file was altered, write the bundle again"
            )
    return bundle


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write `bundle.json`; call it last."""
    (folder / BUNDLE_FILE).write_text(bundle.model_dump_json(indent=2) + "\n")


def new_folder(folder: Path) -> None:
    """Make the folder for a new bundle.

    Raises:
        BundleError: It exists and holds something: a bundle never changes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BundleError(f"writing a bundle: {folder} is not empty; name a new folder")


def record_file(path: Path) -> FileRecord:
    """Return hash and size of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(sha256=sha256, size_bytes=path.stat().st_size)


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Return hash and size of every file of a bundle.

    Raises:
        BundleError: One of them was not written.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"writing the bundle {folder}: {', '.join(missing)} was not written")
    with_card = [*FILES, CARD_FILE] if (folder / CARD_FILE).is_file() else FILES
    return {name: record_file(folder / name) for name in with_card}


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the model card; call it before `record_files`."""
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n")


def read_card(folder: Path) -> ModelCard | None:
    """Read a bundle's model card, if it has one.

    Raises:
        BundleError: It has another form.
    """
    path = folder / CARD_FILE
    try:
        return ModelCard.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BundleError(f"reading {CARD_FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def data_fingerprint(arrays: Iterable[npt.NDArray[np.generic]]) -> str:
    """Return the SHA-256 over datatype, shape and elements of the arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def tool_versions() -> dict[str, str]:
    """Return the versions of the libraries that had a part in a bundle."""
    return {name: installed_version(name) for name in TOOLS}
