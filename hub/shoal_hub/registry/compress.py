"""The job that makes variants of a version: runs compression on its bundle and registers what it wrote."""

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, select

from shoal_compression.compress import compress
from shoal_compression.report import CompressionReport, VariantReport
from shoal_hub.audit.actor import JOBS
from shoal_hub.audit.record import record
from shoal_hub.database import announce, utc_now
from shoal_hub.errors import JobError
from shoal_hub.events.record import record_event
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.gate import check_for_devices
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.registry.versions import find_variants


class CompressParams(BaseModel):
    """The job's parameters."""

    model_config = ConfigDict(frozen=True)

    version_id: int
    techniques: tuple[str, ...]


class CompressResult(BaseModel):
    """The job's result: the targets that the version has variants for now, and the original's figures."""

    targets: tuple[str, ...]
    original_bytes: int
    original_accuracy: float | None
    original_latency_p50_ms: float


def run(work: JobWork) -> CompressResult:
    """Make the variants; those of the same targets are replaced.

    Raises:
        CompressionError: The version cannot be compressed this way.
        JobError: The golden input is not the one of the version's other variants.
        InvalidInputError: A variant is not a file that devices take.
    """
    params = CompressParams.model_validate(work.params)
    with work.database.session() as session:
        version = session.get_one(Version, params.version_id)
    bundle, out = work.folder / "bundle", work.folder / "variants"
    for folder in (bundle, out):
        shutil.rmtree(folder, ignore_errors=True)  # a job that is done again starts anew
    restore_bundle(work.artifacts, version, bundle)
    report = compress(bundle, params.techniques, out, work.progress)
    for variant in report.variants:
        check_for_devices(out / variant.file, variant.format, BundleLimits.of(work.settings))
    with work.database.transaction() as session:
        add_variants(session, work.artifacts, params.version_id, out, report, by=work.created_by)
    shutil.rmtree(bundle)
    shutil.rmtree(out)
    original = report.original
    return CompressResult(
        targets=tuple(variant.target for variant in report.variants),
        original_bytes=original.size_bytes,
        original_accuracy=original.accuracy,
        original_latency_p50_ms=original.latency_ms.p50,
    )


def add_variants(
    session: Session, store: ArtifactStore, version_id: int, folder: Path, report: CompressionReport, *, by: str
) -> None:
    """Store the files of a compression report and add or replace the version's variants.

    Raises:
        JobError: The golden input is not the one of the version's other variants.
    """
    version = session.get_one(Version, version_id)
    golden = {name: tensor.model_dump(mode="json") for name, tensor in report.golden_inputs.items()}
    replaced = {variant.target for variant in report.variants}
    others = [row.target for row in find_variants(session, version) if row.target not in replaced]
    if others and golden != version.golden_inputs:
        msg = (
            f"adding variants to {version.model} {version.number}: the golden input is not that of {', '.join(others)}"
        )
        raise JobError(msg, "compress all targets in one job")
    version.golden_inputs = golden
    session.add(version)
    for variant in report.variants:
        stored = store_artifact(session, store, folder / variant.file)
        _put_variant(session, version_id, variant, stored.sha256)
    targets = ", ".join(sorted(replaced))
    message = f"{version.model} version {version.number} compressed for {targets} by {by}"
    record_event(session, "version_compressed", message, subject=f"model/{version.model}")
    after = {variant.target: variant.technique for variant in report.variants}
    record(
        session,
        JOBS,
        "registry.compress",
        f"models/{version.model}/versions/{version.number}",
        {},
        after,
    )
    announce(session, "models")


def _put_variant(session: Session, version_id: int, report: VariantReport, sha256: str) -> None:
    former = select(VariantRow).where(VariantRow.version_id == version_id, VariantRow.target == report.target)
    for row in session.exec(former):
        session.delete(row)
    session.flush()
    row = VariantRow(
        version_id=version_id,
        target=report.target,
        runtime=report.runtime,
        format=report.format,
        precision=report.precision,
        sha256=sha256,
        size_bytes=report.size_bytes,
        accuracy=report.accuracy,
        latency_p50_ms=report.latency_ms.p50,
        latency_p95_ms=report.latency_ms.p95,
        golden_outputs={name: tensor.model_dump(mode="json") for name, tensor in report.golden_outputs.items()},
        golden_tolerance=report.golden_tolerance,
        report=report.model_dump(mode="json", include={"technique", "tool_versions", "seed", "memory_bytes"}),
        created_at=utc_now(),
    )
    session.add(row)
    session.flush()
