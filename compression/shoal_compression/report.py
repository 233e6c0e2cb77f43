"""What compression reports: the float32 original and each variant, with what the registry and the manifest need."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal_contract.ids import Name, Sha256
from shoal_contract.manifest import GeneratedTensor, SampledTensor, TensorData
from shoal_contract.reported import ModelFormat, Runtime


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Latency(_Value):
    """Of one request with one sample, in ms: medians over blocks of the block's percentiles."""

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)


class FileReport(_Value):
    """One model file and what was measured of it."""

    file: str
    """Name inside its folder."""
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    accuracy: float | None = Field(default=None, ge=0, le=1)
    """On the held-out samples of the bundle; None: they have no labels."""
    latency_ms: Latency
    """On the machine that compressed, one thread: to compare with the original, not to promise."""


class VariantReport(FileReport):
    """One variant."""

    technique: str
    target: Name
    runtime: Runtime
    format: ModelFormat
    precision: str
    golden_outputs: dict[str, TensorData | SampledTensor]
    golden_tolerance: float = Field(ge=0)
    tool_versions: dict[str, str]
    seed: int
    memory_bytes: int | None = Field(default=None, ge=0)
    """What a fresh process grows by at its peak, on the machine that compressed; None in reports from before it was
    measured."""


class CompressionReport(_Value):
    """What `report.json` holds."""

    schema_version: Literal[1] = 1
    name: Name
    original: FileReport
    golden_inputs: dict[str, TensorData | GeneratedTensor]
    variants: tuple[VariantReport, ...]
