"""Models, their immutable versions, the variants made of them, aliases and the history of stages."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, String, UniqueConstraint
from sqlmodel import Field, SQLModel

from shoal_contract.encryption import EncryptedFile
from shoal_hub.database import UtcDateTime

Stage = Literal["none", "staging", "production", "archived"]
JsonObject = dict[str, Any]


class Artifact(SQLModel, table=True):
    """One immutable file of the artifact store."""

    __tablename__ = "artifacts"

    sha256: str = Field(primary_key=True)
    size_bytes: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Model(SQLModel, table=True):
    """A model; `rollout_on_production` is its policy: the rollout to start when a version becomes production."""

    __tablename__ = "models"

    name: str = Field(primary_key=True)
    description: str = ""
    rollout_on_production: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    encrypt_versions: bool = Field(default=False, description="versions registered from now on are encrypted")
    created_at: datetime = Field(sa_type=UtcDateTime)


class Version(SQLModel, table=True):
    """One numbered version. All but the stage and what is signed of it is fixed when it is registered."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("model", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    model: str = Field(foreign_key="models.name")
    number: int
    stage: Stage = Field(default="none", sa_type=String)
    algorithm: str
    author: str
    framework: str
    metrics: JsonObject = Field(sa_type=JSON)
    parameters: JsonObject = Field(sa_type=JSON)
    tags: list[str] = Field(sa_type=JSON)
    inputs: list[JsonObject] = Field(sa_type=JSON, description="contract TensorSpec of each input")
    outputs: list[JsonObject] = Field(sa_type=JSON, description="contract TensorSpec of each output")
    labels: list[str] = Field(sa_type=JSON)
    batching: str | None = Field(default=None, description="`none`: a request is one sample")
    processing: JsonObject | None = Field(
        default=None, sa_type=JSON(none_as_null=True), description="contract Processing, as the bundle declares it"
    )
    baseline: JsonObject = Field(sa_type=JSON, description="contract Baseline")
    provenance: JsonObject = Field(sa_type=JSON, description="contract Provenance")
    golden_inputs: JsonObject = Field(
        sa_type=JSON, description="contract TensorData by input name; chosen with the first variants"
    )
    files: dict[str, str] = Field(sa_type=JSON, description="SHA-256 by name of the bundle's file")
    card: JsonObject | None = Field(
        default=None, sa_type=JSON(none_as_null=True), description="ModelCard, as the bundle gave it"
    )
    licence: str = Field(default="", sa_column_kwargs={"server_default": ""}, description="SPDX expression")
    code: JsonObject | None = Field(
        default=None, sa_type=JSON(none_as_null=True), description="CodeRecord of the training's commit"
    )
    provenance_sha256: str | None = Field(default=None, description="the signed in-toto statement")
    bom_sha256: str | None = Field(default=None, description="the CycloneDX bill of materials")
    is_encrypted: bool = Field(default=False, description="its variants leave the hub as ciphertexts alone")
    manifest_sha256: str | None = None
    manifest_size_bytes: int | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str


class VariantRow(SQLModel, table=True):
    """A version compressed for one target; of an encrypted version also the ciphertext, which is what devices fetch."""

    __tablename__ = "variants"
    __table_args__ = (UniqueConstraint("version_id", "target"),)

    id: int | None = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="versions.id")
    target: str
    runtime: str
    format: str
    precision: str
    sha256: str = Field(foreign_key="artifacts.sha256")
    size_bytes: int
    encrypted_sha256: str | None = Field(default=None, foreign_key="artifacts.sha256")
    encrypted_size_bytes: int | None = None
    accuracy: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    golden_outputs: JsonObject = Field(sa_type=JSON, description="contract TensorData by output name")
    golden_tolerance: float
    report: JsonObject = Field(default_factory=dict, sa_type=JSON)
    provenance_sha256: str | None = Field(default=None, description="the signed in-toto statement")
    created_at: datetime = Field(sa_type=UtcDateTime)

    @property
    def travelling_bytes(self) -> int:
        """Size of what travels of the file: of its ciphertext where there is one."""
        return self.encrypted_size_bytes or self.size_bytes

    @property
    def encrypted(self) -> EncryptedFile | None:
        """The ciphertext as the manifest names it."""
        if self.encrypted_sha256 is None or self.encrypted_size_bytes is None:
            return None
        return EncryptedFile(sha256=self.encrypted_sha256, size_bytes=self.encrypted_size_bytes)


class Alias(SQLModel, table=True):
    """A movable name for a version, like `champion`."""

    __tablename__ = "aliases"

    model: str = Field(primary_key=True, foreign_key="models.name")
    alias: str = Field(primary_key=True)
    number: int


class StageChange(SQLModel, table=True):
    """One step of a version's history through the stages: who, when, from where, why."""

    __tablename__ = "stage_changes"

    id: int | None = Field(default=None, primary_key=True)
    model: str = Field(foreign_key="models.name", index=True)
    number: int
    from_stage: Stage = Field(sa_type=String)
    to_stage: Stage = Field(sa_type=String)
    by: str
    at: datetime = Field(sa_type=UtcDateTime)
    comment: str = ""
