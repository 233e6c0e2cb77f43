"""The techniques by the names that recipes choose them by. A new one is a file here and a line below."""

from typing import Final

from shoal_compression.technique import Technique
from shoal_compression.techniques.cluster.keras_cluster_weights import KerasClusterWeights
from shoal_compression.techniques.cluster.weights import ClusterWeights
from shoal_compression.techniques.convert.to_litert import ToLitert
from shoal_compression.techniques.convert.to_onnx import ToOnnx
from shoal_compression.techniques.convert.torch_to_litert import TorchToLitert
from shoal_compression.techniques.convert.torch_to_onnx import TorchToOnnx
from shoal_compression.techniques.distil.distil import Distil
from shoal_compression.techniques.factorise.low_rank import Factorise
from shoal_compression.techniques.float16 import Float16
from shoal_compression.techniques.prune.channels import PruneChannels
from shoal_compression.techniques.prune.keras_prune_2_4 import KerasPrune24
from shoal_compression.techniques.prune.keras_prune_magnitude import KerasPruneMagnitude
from shoal_compression.techniques.prune.magnitude import PruneMagnitude
from shoal_compression.techniques.prune.two_of_four import PruneTwoOfFour
from shoal_compression.techniques.quantize.adaround import AdaRound
from shoal_compression.techniques.quantize.bias_correct import BiasCorrect
from shoal_compression.techniques.quantize.dynamic import Int8Dynamic
from shoal_compression.techniques.quantize.equalise import Equalise
from shoal_compression.techniques.quantize.int4_weights import Int4Weights
from shoal_compression.techniques.quantize.keras_dynamic_range import KerasDynamicRange
from shoal_compression.techniques.quantize.keras_float16 import KerasFloat16
from shoal_compression.techniques.quantize.keras_int8 import KerasInt8
from shoal_compression.techniques.quantize.keras_int16 import KerasInt16
from shoal_compression.techniques.quantize.keras_qat import KerasQat
from shoal_compression.techniques.quantize.litert_int8 import LitertInt8
from shoal_compression.techniques.quantize.litert_mixed import LitertMixed
from shoal_compression.techniques.quantize.litert_weights import LitertWeights
from shoal_compression.techniques.quantize.mixed import Mixed
from shoal_compression.techniques.quantize.qat import QuantizeAware
from shoal_compression.techniques.quantize.static import Int8Static
from shoal_compression.techniques.trees.compact import TreeCompact

ALL: Final[tuple[type[Technique], ...]] = (
    Float16,
    KerasDynamicRange,
    KerasFloat16,
    KerasInt8,
    KerasInt16,
    ToLitert,
    ToOnnx,
    Int8Dynamic,
    Int8Static,
    Equalise,
    BiasCorrect,
    AdaRound,
    Mixed,
    Int4Weights,
    KerasClusterWeights,
    KerasPrune24,
    KerasPruneMagnitude,
    KerasQat,
    LitertInt8,
    LitertMixed,
    LitertWeights,
    TorchToLitert,
    TorchToOnnx,
    ClusterWeights,
    Distil,
    Factorise,
    PruneChannels,
    PruneMagnitude,
    PruneTwoOfFour,
    QuantizeAware,
    TreeCompact,
)


def name_of(technique: type[Technique]) -> str:
    """Return the name by which a recipe chooses a technique."""
    return str(technique.model_fields["technique"].default)


BY_NAME: Final[dict[str, type[Technique]]] = {name_of(technique): technique for technique in ALL}
