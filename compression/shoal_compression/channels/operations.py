"""How many multiplications and additions a graph takes for one sample, with and without some of its channels."""

import numpy as np

from shoal_compression.channels.groups import Channels
from shoal_compression.trainable.graph import attributes_of

_NONE: frozenset[int] = frozenset()


def operations(channels: Channels, gone: frozenset[int] | set[int] = _NONE) -> int:
    """Return the multiply-accumulates of all Conv, ConvTranspose, Gemm and MatMul nodes for the samples of the trace."""
    total = 0
    for node in channels.proto.graph.node:
        if node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
            first, second = (channels.sizes(node.input[place], set(gone)) for place in (0, 1))
            out = channels.sizes(node.output[0], set(gone))
            total += _of_node(node.op_type, attributes_of(node), first, second, out)
    return total


def _of_node(kind: str, held: dict[str, object], first: list[int], second: list[int], out: list[int]) -> int:
    if kind == "Conv":
        return int(np.prod(out) * np.prod(second[1:]))
    if kind == "ConvTranspose":
        return int(np.prod(first) * np.prod(second[1:]))
    inner = first[0] if held.get("transA", 0) else first[-1]
    return int(np.prod(out) * inner)
