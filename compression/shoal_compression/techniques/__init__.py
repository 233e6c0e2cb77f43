"""The techniques by the names that recipes choose them by. A new one is a file here and a line below."""

from typing import Final

from shoal_compression.technique import Technique
from shoal_compression.techniques.float16 import Float16
from shoal_compression.techniques.quantize.adaround import AdaRound
from shoal_compression.techniques.quantize.bias_correct import BiasCorrect
from shoal_compression.techniques.quantize.dynamic import Int8Dynamic
from shoal_compression.techniques.quantize.equalise import Equalise
from shoal_compression.techniques.quantize.int4_weights import Int4Weights
from shoal_compression.techniques.quantize.mixed import Mixed
from shoal_compression.techniques.quantize.static import Int8Static

ALL: Final[tuple[type[Technique], ...]] = (
    Float16,
    Int8Dynamic,
    Int8Static,
    Equalise,
    BiasCorrect,
    AdaRound,
    Mixed,
    Int4Weights,
)


def name_of(technique: type[Technique]) -> str:
    """Return the name by which a recipe chooses a technique."""
    return str(technique.model_fields["technique"].default)


BY_NAME: Final[dict[str, type[Technique]]] = {name_of(technique): technique for technique in ALL}
