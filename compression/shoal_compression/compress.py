"""Makes the variants of one version and measures them: the whole of a compression job."""

import hashlib
from collections.abc import Collection, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal_compression.errors import SourceError, TechniqueError
from shoal_compression.evaluate import Latency, accuracy, latencies
from shoal_compression.file_technique import FileTechnique
from shoal_compression.int8_litert import Int8Litert
from shoal_compression.int8_qdq_onnx import Int8QdqOnnx
from shoal_compression.memory import memory_bytes
from shoal_compression.report import CompressionReport, FileReport, VariantReport
from shoal_compression.runners import Runner, load_runner
from shoal_compression.source import KERAS_FILE, Source, read_source
from shoal_compression.technique import Progress, silent
from shoal_compression.unmodified import UNMODIFIED, keep_unmodified
from shoal_contract.limits import MAX_TENSOR_BYTES
from shoal_numerics.golden_tensors import GOLDEN_BYTES
from shoal_numerics.tensors import to_tensor_data

TECHNIQUES: dict[str, FileTechnique] = {technique.name: technique for technique in (Int8Litert(), Int8QdqOnnx())}
TECHNIQUE_NAMES = (*TECHNIQUES, UNMODIFIED)
REPORT_FILE = "report.json"
GOLDEN_FILE = "golden.npz"
GOLDEN_SAMPLES = 4
GOLDEN_CONFIDENCE = 0.9
ORIGINAL = "original"


def techniques_for(files: Collection[str]) -> tuple[str, ...]:
    """Return what suits a bundle with these files, by name: of an ONNX file alone, the file itself."""
    return tuple(TECHNIQUES) if KERAS_FILE in files else (UNMODIFIED,)


def compress(
    bundle_dir: Path,
    techniques: Sequence[str],
    out_dir: Path,
    progress: Progress = silent,
) -> CompressionReport:
    """Write one file per technique, `golden.npz` and `report.json` into `out_dir`.

    Args:
        bundle_dir: The bundle that training wrote.
        techniques: Of `TECHNIQUE_NAMES`; `unmodified` is made alone, as its golden input is another one.
        out_dir: Made if missing; files of an earlier run are replaced.
        progress: Told after each variant and each measurement.

    Raises:
        SourceError: The bundle is incomplete, altered, or does not fit a technique.
        TechniqueError: A technique is not known, or its file cannot be run.
    """
    if UNMODIFIED in techniques:
        return _unmodified(bundle_dir, techniques, out_dir, progress)
    chosen = [_technique(name) for name in techniques]
    source = read_source(bundle_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    runners = {ORIGINAL: _runner(source, source.onnx_path)}
    for done, technique in enumerate(chosen):
        progress("compress", done, len(chosen))
        path = _path(out_dir, source, technique)
        technique.apply(source, path)
        runners[technique.name] = _runner(source, path, technique)
    progress("compress", len(chosen), len(chosen))
    golden = _golden_input(source, runners[ORIGINAL])
    np.savez(out_dir / GOLDEN_FILE, allow_pickle=False, **{source.input.name: golden})
    report = _measure(source, chosen, out_dir, runners, golden, progress)
    (out_dir / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n")
    return report


def _unmodified(bundle_dir: Path, techniques: Sequence[str], out_dir: Path, progress: Progress) -> CompressionReport:
    if set(techniques) != {UNMODIFIED}:
        others = ", ".join(name for name in techniques if name != UNMODIFIED)
        raise TechniqueError(f"choosing techniques: {UNMODIFIED} together with {others}; ask for {UNMODIFIED} alone")
    report = keep_unmodified(bundle_dir, out_dir, progress)
    (out_dir / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n")
    return report


def _measure(
    source: Source,
    chosen: Sequence[FileTechnique],
    out_dir: Path,
    runners: dict[str, Runner],
    golden: npt.NDArray[np.float32],
    progress: Progress,
) -> CompressionReport:
    progress("measure", 0, 1)
    scores = {name: accuracy(runner, source.test_x, source.test_y) for name, runner in runners.items()}
    times = latencies(runners, source.test_x)
    variants = tuple(
        _variant(source, technique, out_dir, runners[technique.name](golden), scores, times) for technique in chosen
    )
    original = _file(source.onnx_path, scores[ORIGINAL], times[ORIGINAL])
    progress("measure", 1, 1)
    return CompressionReport(
        name=source.name,
        original=original,
        golden_inputs={source.input.name: to_tensor_data(golden)},
        variants=variants,
    )


def _variant(
    source: Source,
    technique: FileTechnique,
    out_dir: Path,
    golden_output: npt.NDArray[np.float32],
    scores: dict[str, float],
    times: dict[str, Latency],
) -> VariantReport:
    measured = _file(_path(out_dir, source, technique), scores[technique.name], times[technique.name])
    return VariantReport(
        **dict(measured),
        technique=technique.name,
        target=technique.target,
        runtime=technique.runtime,
        format=technique.format,
        precision=technique.precision,
        golden_outputs={source.output.name: to_tensor_data(golden_output)},
        golden_tolerance=technique.golden_tolerance,
        tool_versions={tool: installed_version(tool) for tool in technique.tools},
        seed=source.seed,
        memory_bytes=memory_bytes(
            technique.runtime,
            _path(out_dir, source, technique),
            source.input.name,
            source.output.name,
            source.test_x.shape[1:],
        ),
    )


def _file(path: Path, score: float, latency: Latency) -> FileReport:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return FileReport(file=path.name, sha256=digest, size_bytes=len(data), accuracy=score, latency_ms=latency)


def _golden_input(source: Source, original: Runner) -> npt.NDArray[np.float32]:
    """Choose samples that the original is sure of: where it wavers, rounding alone would move the answer."""
    confidence = original(source.calibration_x).max(axis=1)
    sure = np.flatnonzero(confidence >= GOLDEN_CONFIDENCE)
    pool = sure if len(sure) >= GOLDEN_SAMPLES else np.argsort(-confidence)[:GOLDEN_SAMPLES]
    random = np.random.default_rng(source.seed)
    sample_bytes = source.calibration_x[0].size * np.dtype(np.float32).itemsize
    if sample_bytes > MAX_TENSOR_BYTES:
        found = f"one sample has {sample_bytes} bytes, at most {MAX_TENSOR_BYTES} fit a manifest"
        raise SourceError(f"choosing a golden input: {found}; roll the model out with the technique {UNMODIFIED}")
    fit = max(1, GOLDEN_BYTES // sample_bytes)
    chosen = random.choice(pool, min(GOLDEN_SAMPLES, len(pool), fit), replace=False)
    return np.ascontiguousarray(source.calibration_x[chosen], np.float32)


def _path(out_dir: Path, source: Source, technique: FileTechnique) -> Path:
    return out_dir / f"{source.name}-{technique.target}.{technique.format}"


def _runner(source: Source, path: Path, technique: FileTechnique | None = None) -> Runner:
    runtime = technique.runtime if technique else "onnxruntime"
    return load_runner(runtime, path, source.input.name, source.output.name)


def _technique(name: str) -> FileTechnique:
    if name not in TECHNIQUES:
        raise TechniqueError(f"choosing a technique: {name!r} is not known; known are {', '.join(TECHNIQUE_NAMES)}")
    return TECHNIQUES[name]
