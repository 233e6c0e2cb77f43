"""Makes a network that naive quantization breaks out of one that it does not: its channels become uneven."""

import numpy as np

from shoal_compression.model import Model
from shoal_compression.techniques.quantize.equalise import ceilings_opened, pairs_of, rescale
from shoal_compression.techniques.quantize.preparing import prepared


def uneven(model: Model, doublings: float, seed: int = 0) -> Model:
    """Return the model with the channels between its layers scaled by 2^±`doublings` at random, and back again.

    Only a ReLU lets such a factor pass, so that each ReLU6 becomes one before: compare with what this returns for 0.
    """
    proto = ceilings_opened(prepared(model, "making channels uneven"))
    random = np.random.default_rng(seed)
    for pair in pairs_of(proto):
        rescale(proto, pair, lambda channels: np.exp2(random.uniform(-doublings, doublings, channels)))
    return model.with_content(proto.SerializeToString())
