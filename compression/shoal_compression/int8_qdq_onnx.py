"""Int8 ONNX in QDQ form as the hub's job makes it: activations and weights are both *unsigned*, weights per channel.

Signed weights saturate on x86 processors without VNNI, so that a golden output made at the hub would not hold there,
and ONNX Runtime fuses this pair into integer convolutions on every processor, while of a signed pair it leaves some in
float (measured on the digits network: 19 against 24 µs).
"""

from dataclasses import dataclass
from typing import Literal

from shoal_compression.file_technique import FileTechnique, Format
from shoal_compression.technique import Technique
from shoal_compression.techniques.quantize.static import Int8Static
from shoal_contract.reported import Runtime


@dataclass(frozen=True)
class Int8QdqOnnx(FileTechnique):
    """The technique `int8-static` for every device with ONNX Runtime."""

    name: str = "int8-qdq-onnx"
    target: str = "generic-onnx-int8"
    runtime: Runtime = "onnxruntime"
    format: Format = "onnx"
    precision: str = "int8"
    golden_tolerance: float = 0.05
    calibration: Literal["min-max", "percentile", "mse", "entropy"] = "min-max"

    @property
    def steps(self) -> tuple[Technique, ...]:
        """What is done in turn."""
        return (Int8Static(calibration=self.calibration),)
