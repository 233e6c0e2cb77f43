"""What compression reports: the float32 original and each variant, with what the registry and the manifest need."""

import base64
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from shoal_compression.evaluate import Latency
from shoal_compression.technique import Format
from shoal_contract.ids import Name, Sha256
from shoal_contract.manifest import TensorData
from shoal_contract.reported import Runtime


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileReport(_Value):
    """One model file and what was measured of it."""

    file: str
    """Name inside its folder."""
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)
    """On the held-out samples of the bundle."""
    latency_ms: Latency
    """On the machine that compressed, one thread: to compare with the original, not to promise."""


class VariantReport(FileReport):
    """One variant."""

    technique: str
    target: Name
    runtime: Runtime
    format: Format
    precision: str
    golden_outputs: dict[str, TensorData]
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
    golden_inputs: dict[str, TensorData]
    variants: tuple[VariantReport, ...]


def tensor_data(array: npt.NDArray[np.float32]) -> TensorData:
    """Put a float32 array into the contract's form for tensors."""
    data = base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
    return TensorData(datatype="FP32", shape=array.shape, data=data)
