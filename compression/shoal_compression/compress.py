"""Makes the variants of one version and measures them: the whole of a compression job."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from shoal_compression.budget import Budget
from shoal_compression.bundle import CALIBRATION_FILE, KERAS_FILE, ONNX_FILE, TEST_FILE, read_bundle
from shoal_compression.comparing import accuracy
from shoal_compression.data import Samples
from shoal_compression.errors import SourceError, TechniqueError
from shoal_compression.golden import golden_answer, golden_request, stated_or_generated, stated_whole
from shoal_compression.latency import Timing, timings
from shoal_compression.model import RUNTIMES, Model
from shoal_compression.model_memory import model_memory_bytes
from shoal_compression.original import read_original
from shoal_compression.output_folder import make_folder
from shoal_compression.report import CompressionReport, FileReport, Latency, VariantReport
from shoal_compression.running import scores_of, unpickled
from shoal_compression.technique import Progress, Technique, silent
from shoal_compression.techniques.quantize.keras_int8 import KerasInt8
from shoal_compression.techniques.quantize.static import Int8Static
from shoal_compression.verify import has_classes
from shoal_contract.ids import Name
from shoal_contract.reported import RUNTIME_FORMATS
from shoal_numerics.golden_tensors import golden_array
from shoal_numerics.tensors import Array

REPORT_FILE: Final = "report.json"
GOLDEN_FILE: Final = "golden.npz"
UNMODIFIED: Final = "unmodified"
_ORIGINAL: Final = "original"


@dataclass(frozen=True)
class TargetTechnique:
    """What is made for one target."""

    target: Name
    """The device class that the variant is for."""
    step: Technique | None
    """None: the file is kept as it is."""
    golden_ratio: float
    """How far a device's answer may be from the golden output, as a part of the largest one, at least of 1."""


TECHNIQUES: Final[dict[str, TargetTechnique]] = {
    "int8-litert": TargetTechnique("generic-litert-int8", KerasInt8(), 0.05),
    # Both kinds of integers unsigned, its default: signed weights saturate on x86 processors without VNNI, so that a
    # golden output made at the hub would not hold there.
    "int8-qdq-onnx": TargetTechnique("generic-onnx-int8", Int8Static(), 0.05),
}
_KEPT: Final = TargetTechnique("generic-onnx-float32", None, 1e-3)
TECHNIQUE_NAMES: Final = (*TECHNIQUES, UNMODIFIED)


@dataclass(frozen=True)
class _Work:
    """What the variants are made of, and where they are written."""

    name: str
    seed: int
    reference: Model
    samples: Samples
    """Of which the golden input is chosen."""
    test: Samples
    out_dir: Path


def techniques_for(files: Collection[str]) -> tuple[str, ...]:
    """Return what suits a bundle with these files, by name: of an ONNX file alone, the file itself."""
    return tuple(TECHNIQUES) if KERAS_FILE in files else (UNMODIFIED,)


def compress(
    bundle_dir: Path, techniques: Sequence[str], out_dir: Path, progress: Progress = silent
) -> CompressionReport:
    """Write one file per technique, `golden.npz` and `report.json` into `out_dir`.

    Args:
        bundle_dir: The bundle that training wrote.
        techniques: Of `TECHNIQUE_NAMES`; `unmodified` is made alone, as its golden input is another one.
        out_dir: Made if missing; files of an earlier run are replaced.
        progress: Told after each variant and each measurement.

    Raises:
        SourceError: The bundle is incomplete, altered, or does not fit a technique.
        DataError: Its samples do not fit its model.
        TechniqueError: A technique is not known, or its file cannot be run.
        OutputError: `out_dir` can not be written.
    """
    unknown = [name for name in techniques if name not in TECHNIQUE_NAMES]
    if unknown:
        known = ", ".join(TECHNIQUE_NAMES)
        raise TechniqueError(f"choosing a technique: {unknown[0]!r} is not known; known are {known}")
    if UNMODIFIED in techniques:
        others = ", ".join(name for name in techniques if name != UNMODIFIED)
        if others:
            found = f"{UNMODIFIED} together with {others}"
            raise TechniqueError(f"choosing techniques: {found}; ask for {UNMODIFIED} alone")
        return keep_unmodified(bundle_dir, out_dir, progress)
    original = read_original(bundle_dir)
    make_folder(out_dir)
    data, made = original.data, dict[str, Model]()
    steps = {name: step for name in techniques if (step := TECHNIQUES[name].step)}
    for done, (name, step) in enumerate(steps.items()):
        progress("compress", done, len(steps))
        made[name] = step.apply(original.start(step), data, Budget(seed=original.seed))
    progress("compress", len(steps), len(steps))
    work = _Work(original.name, original.seed, original.reference, data.calibration, data.test, out_dir)
    return _written(work, made, progress)


def keep_unmodified(bundle_dir: Path, out_dir: Path, progress: Progress = silent) -> CompressionReport:
    """Write the bundle's ONNX file as a variant of its own, unmodified: models that were trained elsewhere.

    They may have any number of inputs of any datatype, with or without batches. Nothing is held out where the bundle
    holds nothing out, and numbers that are not finite are the model's own matter.

    Raises:
        SourceError: The bundle is incomplete, altered, or its model does not run on its own data.
        OutputError: `out_dir` can not be written.
    """
    bundle = read_bundle(bundle_dir)
    model, samples = bundle.models().get("onnx"), bundle.samples(CALIBRATION_FILE)
    if model is None or samples is None:
        raise SourceError(
            f"reading {bundle_dir}: {ONNX_FILE} and {CALIBRATION_FILE} are needed; write the bundle again"
        )
    make_folder(out_dir)
    test = bundle.samples(TEST_FILE) or replace(samples, labels=None)
    work = _Work(bundle.name, bundle.seed, model, samples, test, out_dir)
    try:
        return _written(work, {UNMODIFIED: model}, progress)
    except TechniqueError as error:
        raise SourceError(f"measuring {bundle_dir / ONNX_FILE}: {error}") from error
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise SourceError(f"measuring {bundle_dir / ONNX_FILE}: {found}; bring it with smaller samples") from error


def _written(work: _Work, made: Mapping[str, Model], progress: Progress) -> CompressionReport:
    """Write the files, measure them in turns with the original, and write the report."""
    progress("measure", 0, 1)
    request = golden_request(work.reference, work.samples, work.seed)
    is_kept = UNMODIFIED in made
    stated = stated_or_generated(request, work.seed) if is_kept else stated_whole(request)
    golden = {name: golden_array(tensor) for name, tensor in stated.items()}
    np.savez(work.out_dir / GOLDEN_FILE, allow_pickle=False, **unpickled(golden))
    others = {name: model for name, model in made.items() if model is not work.reference}
    models = {_ORIGINAL: work.reference} | others
    times = timings(models, work.test)
    right = _accuracies(models, work.test)
    measured = {name: _figures(model, times[name], right.get(name)) for name, model in models.items()}
    original = measured[_ORIGINAL]
    report = CompressionReport(
        name=work.name,
        original=original,
        golden_inputs=stated,
        variants=tuple(
            _variant(work, name, model, golden, measured.get(name, original)) for name, model in made.items()
        ),
    )
    (work.out_dir / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n")
    progress("measure", 1, 1)
    return report


def _variant(work: _Work, name: str, model: Model, golden: Mapping[str, Array], measured: FileReport) -> VariantReport:
    technique = TECHNIQUES.get(name, _KEPT)
    tools = technique.step.tools if technique.step else ("onnxruntime",)
    path = work.out_dir / f"{work.name}-{technique.target}.{model.form}"
    path.write_bytes(model.content)
    outputs, tolerance = golden_answer(model, golden, technique.golden_ratio)
    return VariantReport(
        **dict(measured) | {"file": path.name},
        technique=name,
        target=technique.target,
        runtime=RUNTIMES[model.form],
        format=RUNTIME_FORMATS[RUNTIMES[model.form]],
        precision=model.precision if technique.step else UNMODIFIED,
        golden_outputs=outputs,
        golden_tolerance=tolerance,
        tool_versions={tool: installed_version(tool) for tool in tools},
        seed=work.seed,
        memory_bytes=model_memory_bytes(model, work.test),
    )


def _accuracies(models: Mapping[str, Model], test: Samples) -> dict[str, float]:
    """Return the share (0..1) of right classes by name, single scores cut as the original's; none without labels."""
    labels = test.labels
    if labels is None or not has_classes(test):
        return {}
    scores = {name: scores_of(model, test) for name, model in models.items()}
    return {name: accuracy(found, labels, scores[_ORIGINAL]) for name, found in scores.items()}


def _figures(model: Model, timing: Timing, score: float | None) -> FileReport:
    return FileReport(
        file=f"model.{model.form}",
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        accuracy=score,
        latency_ms=Latency(p50=timing.p50_ms, p95=timing.p95_ms),
    )
