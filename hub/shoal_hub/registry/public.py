"""Models, versions and variants as the API shows them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, col, func, select

from shoal_contract.manifest import Provenance, TensorSpec
from shoal_hub.registry.card import warnings_of
from shoal_hub.registry.stages import RolloutPolicy
from shoal_hub.registry.tables import Alias, Model, Stage, VariantRow, Version
from shoal_hub.registry.versions import find_variants
from shoal_training.source_code import CodeRecord


class _Public(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class VersionSummary(_Public):
    """A version in a list."""

    model: str
    number: int
    stage: Stage
    aliases: list[str]
    algorithm: str
    author: str
    framework: str
    metrics: dict[str, float]
    tags: list[str]
    targets: list[str]
    is_encrypted: bool
    created_at: datetime
    created_by: str


class VariantPublic(_Public):
    """A variant with what was measured of it."""

    target: str
    runtime: str
    format: str
    precision: str
    sha256: str
    size_bytes: int
    encrypted_sha256: str | None
    encrypted_size_bytes: int | None
    accuracy: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    golden_tolerance: float
    report: dict[str, Any]
    created_at: datetime


class VersionDetail(VersionSummary):
    """One version with all but its baseline."""

    parameters: dict[str, Any]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    batching: str | None
    labels: list[str]
    provenance: Provenance
    files: dict[str, str]
    licence: str
    warnings: list[str]
    code: CodeRecord | None
    provenance_sha256: str | None
    bom_sha256: str | None
    manifest_sha256: str | None
    variants: list[VariantPublic]


class ModelSummary(_Public):
    """A model in a list; `production` is the number of the version in production."""

    name: str
    description: str
    versions: int
    latest: int | None
    production: int | None
    created_at: datetime


class ModelDetail(ModelSummary):
    """One model with its versions, newest first, its aliases and its policy."""

    aliases: dict[str, int]
    rollout_on_production: RolloutPolicy | None
    encrypt_versions: bool
    version_list: list[VersionSummary]


class StageChangePublic(_Public):
    """One move of a version through the stages."""

    number: int
    from_stage: Stage
    to_stage: Stage
    by: str
    at: datetime
    comment: str


def summarise_version(session: Session, version: Version) -> VersionSummary:
    """Return a version as a list shows it."""
    return VersionSummary.model_validate(_columns(session, version, find_variants(session, version)))


def version_detail(session: Session, version: Version) -> VersionDetail:
    """Return a version with its variants."""
    variants = find_variants(session, version)
    shown = [VariantPublic.model_validate(row) for row in variants]
    return VersionDetail.model_validate(
        _columns(session, version, variants) | {"variants": shown, "warnings": warnings_of(version)}
    )


def summarise_model(session: Session, model: Model) -> ModelSummary:
    """Return a model as a list shows it."""
    return ModelSummary.model_validate(_model_columns(session, model))


def model_detail(session: Session, model: Model) -> ModelDetail:
    """Return a model with its versions."""
    versions = session.exec(select(Version).where(Version.model == model.name).order_by(col(Version.number).desc()))
    return ModelDetail.model_validate(
        _model_columns(session, model)
        | {
            "aliases": _aliases(session, model.name),
            "rollout_on_production": model.rollout_on_production,
            "version_list": [summarise_version(session, version) for version in versions],
        }
    )


def _columns(session: Session, version: Version, variants: list[VariantRow]) -> dict[str, Any]:
    aliases = _aliases(session, version.model)
    return version.model_dump() | {
        "aliases": sorted(alias for alias, number in aliases.items() if number == version.number),
        "targets": [row.target for row in variants],
    }


def _model_columns(session: Session, model: Model) -> dict[str, Any]:
    of_model = col(Version.model) == model.name
    count, latest = session.exec(select(func.count(col(Version.id)), func.max(Version.number)).where(of_model)).one()
    in_production = select(func.max(Version.number)).where(of_model, Version.stage == "production")
    return model.model_dump() | {
        "versions": count,
        "latest": latest,
        "production": session.exec(in_production).one(),
    }


def _aliases(session: Session, model: str) -> dict[str, int]:
    rows = session.exec(select(Alias).where(Alias.model == model).order_by(Alias.alias))
    return {row.alias: row.number for row in rows}
