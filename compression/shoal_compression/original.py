"""What is compressed: a float version, its file in each form that there is, and its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_compression.data import Data, Samples, check_samples
from shoal_compression.errors import DataError, SourceError
from shoal_compression.model import Form, Model
from shoal_compression.model_files import read_model
from shoal_compression.recipe import Recipe
from shoal_compression.sample_files import halves, read_samples
from shoal_compression.source import (
    BUNDLE_FILE,
    CALIBRATION_FILE,
    KERAS_FILE,
    ONNX_FILE,
    TEST_FILE,
    FileHash,
    check_file,
)
from shoal_contract.ids import Name
from shoal_contract.manifest import TensorSpec

TRAIN_FILE: Final = "train.npz"
FILES: Final[dict[Form, str]] = {"onnx": ONNX_FILE, "keras": KERAS_FILE}


@dataclass(frozen=True)
class Original:
    """A float version to compress. All its models are the same network, and say the same."""

    name: str
    models: Mapping[Form, Model]
    data: Data
    seed: int = 0

    @property
    def reference(self) -> Model:
        """What variants are compared with: the first there is of ONNX, LiteRT, Keras."""
        forms: tuple[Form, ...] = ("onnx", "tflite", "keras")
        return next(self.models[form] for form in forms if form in self.models)

    def start(self, recipe: Recipe) -> Model:
        """Return the model that a recipe begins with.

        Raises:
            SourceError: There is none in a form that it takes.
        """
        forms: tuple[Form, ...] = ("onnx", "keras", "tflite")
        fitting = [form for form in forms if form in self.models and form in recipe.takes]
        if not fitting:
            found = f"{', '.join(sorted(self.models))} found, expected {' or '.join(sorted(recipe.takes))}"
            raise SourceError(f"choosing the file of {self.name} for {recipe.name}: {found}; choose another recipe")
        return self.models[fitting[0]]


class _Description(BaseModel):
    """The part of `bundle.json` that this needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    seed: int
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    batching: Literal["none"] | None = None
    files: dict[str, FileHash]


def read_original(
    path: Path,
    calibration: Path | None = None,
    test: Path | None = None,
    train: Path | None = None,
) -> Original:
    """Read a bundle folder, or a bare `.onnx`, `.tflite` or `.keras` file with its samples.

    Args:
        path: The folder or the file. Of a folder the other arguments replace its own files.
        calibration: An `.npz` with an array for each input, by its name or `x`; a bundle has its own.
        test: The same, with labels under `y` and slices under `slice/NAME`; where there is none, half of `calibration`
            is held out.
        train: The same, to train on; a bundle may have `train.npz`.

    Raises:
        SourceError: A file is missing, altered, or no model.
        DataError: The samples do not fit the model.
    """
    if path.is_dir():
        return _bundle(path, calibration, test, train)
    if not path.is_file():
        raise SourceError(f"reading {path}: there is no such file; name a bundle's folder or a model file")
    model = read_model(path)
    if calibration is None:
        raise DataError(f"reading {path}: no samples; give --calibration with an .npz of what the model will be asked")
    return _original(path.stem, {model.form: model}, 0, calibration, test, train)


def _bundle(folder: Path, calibration: Path | None, test: Path | None, train: Path | None) -> Original:
    about = _description(folder / BUNDLE_FILE)
    models: dict[Form, Model] = {}
    for form, name in FILES.items():
        if name in about.files:
            check_file(folder, name, about.files)
            models[form] = Model(form, (folder / name).read_bytes(), about.inputs, about.outputs)
    if not models:
        raise SourceError(f"reading {folder}: neither of {', '.join(FILES.values())}; write the bundle again")
    found = []
    for given, name in ((calibration, CALIBRATION_FILE), (test, TEST_FILE), (train, TRAIN_FILE)):
        if given is None and name in about.files:
            check_file(folder, name, about.files)
        found.append(given or (folder / name if name in about.files else None))
    if found[0] is None:
        raise DataError(f"reading {folder}: no {CALIBRATION_FILE}; give --calibration with an .npz of samples")
    return _original(about.name, models, about.seed, found[0], found[1], found[2])


def _original(
    name: str, models: Mapping[Form, Model], seed: int, calibration: Path, test: Path | None, train: Path | None
) -> Original:
    model = next(iter(models.values()))
    seen = _read(calibration, model)
    held_out = _read(test, model) if test else None
    if held_out is None:
        seen, held_out = halves(seen, max(0, seed))
    learnt = _read(train, model) if train else _labelled(seen)
    return Original(name, models, Data(seen, held_out, learnt), max(0, seed))


def _read(path: Path, model: Model) -> Samples:
    """Read samples and see that they fit, before they are split: rows are counted as in the file."""
    samples = read_samples(path, model.inputs)
    check_samples(samples, model, f"checking the samples in {path}")
    return samples


def _labelled(samples: Samples) -> Samples | None:
    """Return calibration samples to train on, where they have labels."""
    return None if samples.labels is None else samples


def _description(path: Path) -> _Description:
    try:
        return _Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SourceError(f"reading the bundle: {error}; name the folder that training wrote") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SourceError(f"reading the bundle: {path}: {where}: {first['msg']}; write the bundle again") from error
