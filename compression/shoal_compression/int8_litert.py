"""Full-integer LiteRT of a bundle: the technique `keras-int8`, for a target."""

from dataclasses import dataclass
from pathlib import Path

from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.file_technique import Format
from shoal_compression.model import Model
from shoal_compression.source import Source
from shoal_compression.techniques.quantize.keras_int8 import KerasInt8
from shoal_contract.reported import Runtime


@dataclass(frozen=True)
class Int8Litert:
    """Post-training quantization by the TFLite converter."""

    name: str = "int8-litert"
    target: str = "generic-litert-int8"
    runtime: Runtime = "litert"
    format: Format = "tflite"
    precision: str = "int8"
    golden_tolerance: float = 0.05
    tools: tuple[str, ...] = ("tensorflow", "keras", "ai-edge-litert")

    def apply(self, source: Source, out: Path) -> None:
        """Convert the Keras source with its calibration inputs; builtin int8 operators only."""
        name = source.input.name
        model = Model("keras", source.keras_path.read_bytes(), (source.input,), (source.output,))
        data = Data(Samples({name: source.calibration_x}), Samples({name: source.test_x}, source.test_y))
        out.write_bytes(KerasInt8().apply(model, data, Budget(seed=source.seed)).content)
