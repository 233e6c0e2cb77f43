"""The ONNX file of a bundle as a variant of its own, unmodified: golden input and outputs, accuracy and latency.

For models that were trained elsewhere: any number of inputs of any datatype, with or without batches.
"""

import hashlib
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_compression.errors import SourceError
from shoal_compression.evaluate import Latency
from shoal_compression.output_folder import make_folder
from shoal_compression.report import CompressionReport, FileReport, VariantReport
from shoal_compression.runners import open_onnx
from shoal_compression.source import BUNDLE_FILE, CALIBRATION_FILE, ONNX_FILE, TEST_FILE, FileHash, check_file
from shoal_compression.technique import Progress, silent
from shoal_contract.ids import Name
from shoal_contract.manifest import GeneratedTensor, TensorData, TensorSpec
from shoal_numerics.golden_tensors import GOLDEN_BYTES, generated_array, golden_output
from shoal_numerics.tensors import NUMPY_TYPES, Array, to_tensor_data

UNMODIFIED: Final = "unmodified"
TARGET: Final = "generic-onnx-float32"
GOLDEN_SAMPLES: Final = 4
TOLERANCE_RATIO: Final = 1e-3
"""Of the largest golden output, at least of 1: what another processor's order of summing may change in float32."""
_TIMED_REQUESTS: Final = 200
_TIMED_S: Final = 1.0
_WARM_UP_REQUESTS: Final = 5
_TEST_ROWS: Final = 64

Arrays = dict[str, Array]


class _Description(BaseModel):
    """The part of `bundle.json` that this needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    seed: int
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    batching: Literal["none"] | None = None
    files: dict[str, FileHash]


@dataclass(frozen=True)
class _Source:
    """A model and data to run it on: arrays (n, ...) by input."""

    about: _Description
    path: Path
    session: Any
    samples: Arrays
    test: Arrays | None
    test_y: Array | None

    @property
    def is_batched(self) -> bool:
        return self.about.batching is None

    def request(self, samples: Arrays, place: int) -> Arrays:
        """Return one sample as a request."""
        kept = slice(place, place + 1) if self.is_batched else place
        return {name: np.asarray(array[kept], order="C") for name, array in samples.items()}

    def run(self, feeds: Mapping[str, Array]) -> Arrays:
        names = [spec.name for spec in self.about.outputs]
        try:
            return dict(zip(names, self.session.run(names, dict(feeds)), strict=True))
        except Exception as error:  # the runtime's errors share no base class
            doing = f"running {self.path}: {str(error)[:300]}"
            raise SourceError(f"{doing}; register a model that runs on its data") from error


def keep_unmodified(bundle_dir: Path, out_dir: Path, progress: Progress = silent) -> CompressionReport:
    """Copy the bundle's ONNX file into `out_dir`, and measure it.

    Raises:
        SourceError: The bundle is incomplete, altered, or its model does not run on its own data.
        OutputError: `out_dir` can not be written.
    """
    progress("measure", 0, 1)
    source = _read(bundle_dir)
    try:
        report = _measured(source, out_dir)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise SourceError(f"measuring {source.path}: {found}; bring it with smaller samples") from error
    progress("measure", 1, 1)
    return report


def _measured(source: _Source, out_dir: Path) -> CompressionReport:
    make_folder(out_dir)
    file = out_dir / f"{source.about.name}-{TARGET}.onnx"
    shutil.copyfile(source.path, file)
    golden_inputs, feeds = _golden(source)
    golden = source.run(feeds)
    data = file.read_bytes()
    measured = FileReport(
        file=file.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        accuracy=_accuracy(source),
        latency_ms=_latency(source),
    )
    variant = VariantReport(
        **dict(measured),
        technique=UNMODIFIED,
        target=TARGET,
        runtime="onnxruntime",
        format="onnx",
        precision=UNMODIFIED,
        golden_outputs={name: golden_output(array) for name, array in golden.items()},
        golden_tolerance=_tolerance(golden.values()),
        tool_versions={"onnxruntime": installed_version("onnxruntime")},
        seed=source.about.seed,
    )
    return CompressionReport(
        name=source.about.name, original=measured, golden_inputs=golden_inputs, variants=(variant,)
    )


def _read(folder: Path) -> _Source:
    try:
        about = _Description.model_validate_json((folder / BUNDLE_FILE).read_bytes())
    except OSError as error:
        raise SourceError(f"reading the bundle: {error}; name the folder that training wrote") from error
    except ValidationError as error:
        raise SourceError(f"reading the bundle: {folder / BUNDLE_FILE} has another form: {error}") from error
    has_test = TEST_FILE in about.files
    for name in (ONNX_FILE, CALIBRATION_FILE, *([TEST_FILE] if has_test else [])):
        check_file(folder, name, about.files)
    samples, _ = _arrays(folder / CALIBRATION_FILE, about)
    test, test_y = _arrays(folder / TEST_FILE, about) if has_test else (None, None)
    try:
        session = open_onnx(folder / ONNX_FILE)
    except ValueError as error:
        raise SourceError(f"loading {folder / ONNX_FILE}: {error}") from error
    return _Source(about, folder / ONNX_FILE, session, samples, test, test_y)


def _arrays(path: Path, about: _Description) -> tuple[Arrays, Array | None]:
    with np.load(path, allow_pickle=False) as archive:
        keys = {spec.name: spec.name if spec.name in archive else "x" for spec in about.inputs}
        missing = [name for name, key in keys.items() if key not in archive or len(archive[key]) == 0]
        if missing:
            raise SourceError(f"reading {path}: no values under {missing}, found {sorted(archive)}")
        arrays = {spec.name: archive[keys[spec.name]].astype(NUMPY_TYPES[spec.datatype]) for spec in about.inputs}
        return arrays, archive.get("y")


def _golden(source: _Source) -> tuple[dict[str, TensorData | GeneratedTensor], Arrays]:
    """Return the golden input, as the manifest states it and as arrays: a few samples, or numbers as wide as theirs."""
    first = source.request(source.samples, 0)
    feeds = first
    if source.is_batched:
        largest = max(array.nbytes for array in (*first.values(), *source.run(first).values()))
        count = len(next(iter(source.samples.values())))
        rows = np.linspace(0, count - 1, max(1, min(GOLDEN_SAMPLES, count, GOLDEN_BYTES // largest)), dtype=np.int64)
        feeds = {name: np.asarray(array[rows], order="C") for name, array in source.samples.items()}
    stated: dict[str, TensorData | GeneratedTensor] = {}
    for spec in source.about.inputs:
        array = feeds[spec.name]
        if array.nbytes <= GOLDEN_BYTES:
            stated[spec.name] = to_tensor_data(array)
            continue
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            raise SourceError(f"choosing a golden input: {spec.name} has values that are not finite; leave them out")
        seed = max(0, source.about.seed)
        try:
            made = GeneratedTensor(datatype=spec.datatype, shape=array.shape, seed=seed, low=low, high=high)
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise SourceError(f"choosing a golden input: {spec.name}: {reason}") from error
        stated[spec.name], feeds[spec.name] = made, generated_array(made)
    return stated, feeds


def _tolerance(outputs: Iterable[Array]) -> float:
    largest = [float(np.abs(np.nan_to_num(array.astype(np.float64))).max(initial=0.0)) for array in outputs]
    return TOLERANCE_RATIO * max(1.0, *largest)


def _accuracy(source: _Source) -> float | None:
    """Return the share (0..1) of held-out samples whose most probable class is the label; None without labels."""
    if source.test is None or source.test_y is None:
        return None
    count, found = len(source.test_y), []
    step = _TEST_ROWS if source.is_batched else 1
    for at in range(0, count, step):
        kept = slice(at, at + step) if source.is_batched else at
        feeds = {name: np.asarray(array[kept], order="C") for name, array in source.test.items()}
        scores = source.run(feeds)[source.about.outputs[0].name]
        found.append(scores.reshape(len(scores) if source.is_batched else 1, -1).argmax(axis=1))
    return float((np.concatenate(found) == source.test_y).mean())


def _latency(source: _Source) -> Latency:
    """Time single requests, one after the other, in one thread."""
    count = len(next(iter(source.samples.values())))
    times_ms: list[float] = []
    for index in range(_WARM_UP_REQUESTS + _TIMED_REQUESTS):
        request = source.request(source.samples, index % count)
        began_s = time.perf_counter()
        source.run(request)
        times_ms.append((time.perf_counter() - began_s) * 1000)
        if len(times_ms) > _WARM_UP_REQUESTS and sum(times_ms) > _TIMED_S * 1000:
            break
    kept = times_ms[_WARM_UP_REQUESTS:]
    return Latency(p50=float(np.percentile(kept, 50)), p95=float(np.percentile(kept, 95)))
