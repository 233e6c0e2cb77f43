"""The job that ends a run: chooses for each target class by what devices have measured, and registers the choices."""

import re
import shutil
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from shoal_compression.measures import Measures
from shoal_compression.model import RUNTIMES, Model
from shoal_compression.original import Original, read_original
from shoal_compression.search.candidates import SOURCE
from shoal_contract.reported import RUNTIME_FORMATS, RUNTIME_WORDS, Runtime
from shoal_hub.audit.actor import JOBS
from shoal_hub.audit.record import record
from shoal_hub.compression.described import Describer
from shoal_hub.compression.evidence import make_choices, read_evidence
from shoal_hub.compression.figures import Choice, and_also
from shoal_hub.compression.golden import golden_inputs, golden_outputs, make_golden_inputs
from shoal_hub.compression.request import CompressionRequest
from shoal_hub.compression.start import close_run, find_run
from shoal_hub.compression.tables import OPEN, CompressionResult, CompressionRun
from shoal_hub.database import announce, utc_now
from shoal_hub.events.record import record_event
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.registry.versions import find_variants


class ChooseResult(BaseModel):
    """The job's result: what was chosen, by target class."""

    chosen: dict[str, str]


def run(work: JobWork) -> ChooseResult:
    """Choose, and register what was chosen."""
    return finish_run(work, work.params["run"])


def finish_run(work: JobWork, run_id: str) -> ChooseResult:
    """Choose for each target class, register the choices as variants, and end the run; all of it or nothing.

    Raises:
        CompressionError: A file that was made does not load any more.
        JobError: No golden input can be chosen.
    """
    with work.database.session() as session:
        row = find_run(session, run_id)
        evidence = read_evidence(session, row, work.settings.predictor_results)
        version = session.get_one(Version, row.version_id)
    bundle = work.folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    restore_bundle(work.artifacts, version, bundle)
    original = read_original(bundle)
    feeds = next(original.data.test.first(1).feeds(original.reference))
    choices = make_choices(evidence, CompressionRequest.model_validate(row.request), feeds, Describer(work.artifacts))
    with work.database.transaction() as session:
        row = find_run(session, run_id, is_locked=True)
        if row.state in OPEN:
            registered = [_register(session, work, row, original, choice) for choice in choices]
            _close(session, row, registered)
            choices = registered
    shutil.rmtree(bundle)
    return ChooseResult(chosen={one.target_class: one.chosen for one in choices if one.chosen is not None})


def _register(session: Session, work: JobWork, row: CompressionRun, original: Original, choice: Choice) -> Choice:
    """Register a choice as the variant of its target; the source itself needs a recipe to be one."""
    if choice.chosen is None:
        return choice
    version = session.get_one(Version, row.version_id, with_for_update=True)
    made = None if choice.chosen == SOURCE else session.get_one(CompressionResult, (row.id, choice.chosen))
    source = row.source or {}
    runtime: Runtime = made.runtime if made else source["runtime"]  # type: ignore[assignment]  # the column is text
    sha256, precision = (made.sha256, made.precision) if made else (source["sha256"], source["precision"])
    target = target_of(choice.target_class, runtime, precision)
    model = Model(
        RUNTIME_FORMATS[runtime],
        work.artifacts.read(sha256),
        original.reference.inputs,
        original.reference.outputs,
        precision,
    )
    others = [one for one in find_variants(session, version) if one.target != target]
    if not others or not version.golden_inputs:
        inputs = make_golden_inputs(original.reference, original.data.calibration, original.seed)
        version.golden_inputs = {name: tensor.model_dump(mode="json") for name, tensor in inputs.items()}
        session.add(version)
    _put(session, version, row, choice, model, made, target)
    preferred = [one.target for one in others if one.target.startswith(f"{choice.target_class}-")]
    said = f"the version also has {', '.join(preferred)}, which devices may prefer" if preferred else ""
    return choice.model_copy(update={"target": target, "reason": and_also(choice.reason, said)})


def target_of(target_class: str, runtime: Runtime, precision: str) -> str:
    """Return under which target a file is registered: devices ask for int8 first, then for float32."""
    is_integer = re.search(r"\bint\d+\b", precision) is not None
    return f"{target_class}-{RUNTIME_WORDS[runtime]}-{'int8' if is_integer else 'float32'}"


def _put(
    session: Session,
    version: Version,
    row: CompressionRun,
    choice: Choice,
    model: Model,
    made: CompressionResult | None,
    target: str,
) -> None:
    for former in find_variants(session, version):
        if former.target == target:
            session.delete(former)
    session.flush()
    stated, tolerance = golden_outputs(model, golden_inputs(version.golden_inputs))
    measures = next(one.measures for one in choice.candidates if one.name == choice.chosen)
    session.add(
        VariantRow(
            version_id=row.version_id,
            target=target,
            runtime=RUNTIMES[model.form],
            format=model.form,
            precision=model.precision[:32],
            sha256=model.sha256,
            size_bytes=model.size_bytes,
            accuracy=measures.accuracy,
            latency_p50_ms=measures.latency_p50_ms,
            latency_p95_ms=measures.latency_p95_ms,
            golden_outputs=stated,
            golden_tolerance=tolerance,
            report=_report(row, choice, measures, made),
            created_at=utc_now(),
        )
    )
    session.flush()


def _report(row: CompressionRun, choice: Choice, measures: Measures, made: CompressionResult | None) -> dict[str, Any]:
    """Return the variant's compression report: where it comes from, what it loses, and where that was measured."""
    lineage = made.report["lineage"] if made else None
    predicted = choice.predicted.get(choice.chosen or "")
    return {
        "technique": f"recipe {choice.chosen}" if made else "unmodified",
        "tool_versions": lineage["tool_versions"] if lineage else {},
        "seed": lineage["seed"] if lineage else 0,
        "memory_bytes": measures.memory_bytes,
        "compression_run": row.id,
        "lineage": lineage,
        "verdict": made.report["verdict"] if made else None,
        "measured_on": {
            "basis": choice.basis,
            "devices": choice.devices,
            "measures": measures.model_dump(mode="json"),
            "predicted": None if predicted is None else predicted.model_dump(mode="json"),
            "errors": {board: error.model_dump(mode="json") for board, error in choice.errors.items()},
        },
    }


def _close(session: Session, row: CompressionRun, choices: Sequence[Choice]) -> None:
    row.choices = [one.model_dump(mode="json") for one in choices]
    chosen = {one.target: one.chosen for one in choices if one.chosen is not None and one.target is not None}
    if not chosen:
        reasons = "; ".join(f"{one.target_class}: {one.reason}" for one in choices)
        close_run(session, row, "failed", f"nothing was chosen for any target: {reasons}", utc_now())
        return
    place = f"models/{row.model}/versions/{row.number}"
    record(session, JOBS, "registry.compress", place, {}, {str(target): name for target, name in chosen.items()})
    said = ", ".join(f"{name} for {target}" for target, name in chosen.items())
    message = f"{row.model} version {row.number} compressed: {said}"
    record_event(session, "version_compressed", message[:1000], subject=f"model/{row.model}")
    announce(session, "models")
    missing = [one.target_class for one in choices if one.chosen is None]
    reason = f"nothing was chosen for {', '.join(missing)}" if missing else ""
    close_run(session, row, "succeeded", reason, utc_now())
