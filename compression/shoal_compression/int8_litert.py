"""Full-integer LiteRT as the hub's job makes it: int8 weights and activations, input and output in float32."""

from dataclasses import dataclass

from shoal_compression.file_technique import FileTechnique, Format
from shoal_compression.technique import Technique
from shoal_compression.techniques.quantize.keras_int8 import KerasInt8
from shoal_contract.reported import Runtime


@dataclass(frozen=True)
class Int8Litert(FileTechnique):
    """The technique `keras-int8` for every device with LiteRT."""

    name: str = "int8-litert"
    target: str = "generic-litert-int8"
    runtime: Runtime = "litert"
    format: Format = "tflite"
    precision: str = "int8"
    golden_tolerance: float = 0.05

    @property
    def steps(self) -> tuple[Technique, ...]:
        """What is done in turn."""
        return (KerasInt8(),)
