"""What is compressed: a float version, its file in each form that there is, and its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shoal_compression.bundle import CALIBRATION_FILE, TEST_FILE, TRAIN_FILE, read_bundle
from shoal_compression.data import Data, Samples, check_samples
from shoal_compression.errors import DataError, SourceError
from shoal_compression.model import Form, Model
from shoal_compression.model_files import read_model
from shoal_compression.recipe import Recipe
from shoal_compression.sample_files import halves, read_samples
from shoal_compression.technique import Technique


@dataclass(frozen=True)
class Original:
    """A float version to compress. All its models are the same network, and say the same."""

    name: str
    models: Mapping[Form, Model]
    data: Data
    seed: int = 0

    @property
    def reference(self) -> Model:
        """What variants are compared with: the first there is of ONNX, LiteRT, Keras, PyTorch."""
        forms: tuple[Form, ...] = ("onnx", "tflite", "keras", "torch")
        return next(self.models[form] for form in forms if form in self.models)

    def start(self, recipe: Recipe | Technique) -> Model:
        """Return the model that a recipe, or a technique alone, begins with.

        Raises:
            SourceError: There is none in a form that it takes.
        """
        forms: tuple[Form, ...] = ("onnx", "keras", "tflite", "torch")
        fitting = [form for form in forms if form in self.models and form in recipe.takes]
        if not fitting:
            found = f"{', '.join(sorted(self.models))} found, expected {' or '.join(sorted(recipe.takes))}"
            raise SourceError(f"choosing the file of {self.name} for {recipe.name}: {found}; choose another recipe")
        return self.models[fitting[0]]


def read_original(
    path: Path,
    calibration: Path | None = None,
    test: Path | None = None,
    train: Path | None = None,
) -> Original:
    """Read a bundle folder, or a bare `.onnx`, `.tflite`, `.keras` or `.pt2` file with its samples.

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
        return _of_bundle(path, calibration, test, train)
    if not path.is_file():
        raise SourceError(f"reading {path}: there is no such file; name a bundle's folder or a model file")
    model = read_model(path)
    if calibration is None:
        raise DataError(f"reading {path}: no samples; give --calibration with an .npz of what the model will be asked")
    return _original(path.stem, {model.form: model}, 0, calibration, test, train)


def _of_bundle(folder: Path, calibration: Path | None, test: Path | None, train: Path | None) -> Original:
    bundle = read_bundle(folder)
    models = bundle.models()
    seen = calibration or bundle.file(CALIBRATION_FILE)
    if seen is None:
        raise DataError(f"reading {folder}: no {CALIBRATION_FILE}; give --calibration with an .npz of samples")
    held_out, learnt = test or bundle.file(TEST_FILE), train or bundle.file(TRAIN_FILE)
    return _original(bundle.name, models, bundle.seed, seen, held_out, learnt)


def _original(
    name: str, models: Mapping[Form, Model], seed: int, calibration: Path, test: Path | None, train: Path | None
) -> Original:
    model = next(iter(models.values()))
    texts = [spec.name for spec in model.inputs if spec.datatype == "BYTES"]
    if texts:
        found = f"its input {texts[0]} takes texts, and recipes compress models of numbers"
        raise SourceError(f"reading {name}: {found}; keep the file as it is, by the technique unmodified")
    seen = _read(calibration, model)
    held_out = _read(test, model) if test else None
    if held_out is None:
        seen, held_out = halves(seen, seed)
    learnt = _read(train, model) if train else _labelled(seen)
    return Original(name, models, Data(seen, held_out, learnt), seed)


def _read(path: Path, model: Model) -> Samples:
    """Read samples and see that they fit, before they are split: rows are counted as in the file."""
    samples = read_samples(path, model.inputs)
    check_samples(samples, model, f"checking the samples in {path}")
    return samples


def _labelled(samples: Samples) -> Samples | None:
    """Return calibration samples to train on, where they have labels."""
    return None if samples.labels is None else samples
