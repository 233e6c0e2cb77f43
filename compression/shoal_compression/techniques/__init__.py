"""The techniques by the names that recipes choose them by. A new one is a file here and a line below."""

from typing import Final

from shoal_compression.technique import Technique
from shoal_compression.techniques.cluster.weights import ClusterWeights
from shoal_compression.techniques.distil.distil import Distil
from shoal_compression.techniques.factorise.low_rank import Factorise
from shoal_compression.techniques.float16 import Float16
from shoal_compression.techniques.prune.channels import PruneChannels
from shoal_compression.techniques.prune.magnitude import PruneMagnitude
from shoal_compression.techniques.prune.two_of_four import PruneTwoOfFour
from shoal_compression.techniques.quantize.qat import QuantizeAware
from shoal_compression.techniques.trees.compact import TreeCompact

ALL: Final[tuple[type[Technique], ...]] = (
    Float16,
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
