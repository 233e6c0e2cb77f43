"""The techniques by the names that recipes choose them by. A new one is a file here and a line below."""

from typing import Final

from shoal_compression.technique import Technique
from shoal_compression.techniques.convert.to_litert import ToLitert
from shoal_compression.techniques.convert.to_onnx import ToOnnx
from shoal_compression.techniques.float16 import Float16
from shoal_compression.techniques.quantize.keras_dynamic_range import KerasDynamicRange
from shoal_compression.techniques.quantize.keras_float16 import KerasFloat16
from shoal_compression.techniques.quantize.keras_int8 import KerasInt8
from shoal_compression.techniques.quantize.keras_int16 import KerasInt16

ALL: Final[tuple[type[Technique], ...]] = (
    Float16,
    KerasDynamicRange,
    KerasFloat16,
    KerasInt8,
    KerasInt16,
    ToLitert,
    ToOnnx,
)


def name_of(technique: type[Technique]) -> str:
    """Return the name by which a recipe chooses a technique."""
    return str(technique.model_fields["technique"].default)


BY_NAME: Final[dict[str, type[Technique]]] = {name_of(technique): technique for technique in ALL}
