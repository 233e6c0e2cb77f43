"""Runs a graph on samples and shows what passes inside it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.errors import DataError, SourceError
from shoal_compression.model import Model
from shoal_numerics.tensors import Array

# ruff: noqa: ANN401 - messages of ONNX
BATCH = 32
FEWEST = 2
"""Samples to calibrate with, below which no range is one."""


def observe(
    proto: Any, model: Model, samples: Samples, names: Sequence[str], threads: int
) -> Iterator[dict[str, Array]]:
    """Yield, batch by batch, the values that the tensors of these names have: (k, …) by name, as the graph types them.

    Quantized graphs are computed as they are written, every value rounded and in float32: ONNX Runtime's integer
    kernels, which saturate on some processors, are left out.

    Raises:
        SourceError: The graph does not run on the samples.
    """
    import onnx
    import onnxruntime as ort

    if not names:  # of no names the runtime gives every output
        return
    wider = onnx.ModelProto()
    wider.CopyFrom(proto)
    outputs = {output.name for output in wider.graph.output}
    wider.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        session = ort.InferenceSession(wider.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for feed in samples.feeds(model, BATCH):
            yield dict(zip(names, session.run(list(names), feed), strict=True))
    except Exception as error:  # the runtime's errors have no root of their own
        shapes = {name: list(array.shape[1:]) for name, array in samples.inputs.items()}
        msg = f"running the graph on samples of {shapes}: {str(error)[:400]}"
        raise SourceError(
            f"{msg}; export the model with fixed shapes but for the batch, and give samples of them"
        ) from error


def values_of(proto: Any, model: Model, samples: Samples, name: str, threads: int) -> Array:
    """Return one tensor's values, (n, …) of a model that takes batches, otherwise (n, …) with what a request gives."""
    parts = [found[name] for found in observe(proto, model, samples, [name], threads)]
    return np.concatenate(parts) if model.is_batched else np.stack(parts)


def float_tensors(proto: Any) -> list[str]:
    """Return the names of the graph's float32 inputs and of what its nodes give, as far as their types are known."""
    from onnx import TensorProto

    known = [*proto.graph.input, *proto.graph.value_info, *proto.graph.output]
    held = {tensor.name for tensor in proto.graph.initializer}
    made = {name for node in proto.graph.node for name in node.output} | {one.name for one in proto.graph.input}
    kinds = {one.name for one in known if one.type.tensor_type.elem_type == TensorProto.FLOAT}
    return sorted((kinds & made) - held)


def check_calibration(samples: Samples, held_out: Samples, doing: str) -> None:
    """See that samples can be calibrated with.

    Raises:
        DataError: There are too few, or all are of one class where there are others.
    """
    if len(samples) < FEWEST:
        raise DataError(
            f"{doing}: {len(samples)} calibration sample found, at least {FEWEST} expected; give some hundreds"
        )
    labels, others = samples.labels, held_out.labels
    if labels is None or others is None or labels.dtype.kind not in "iub":
        return
    if len(np.unique(labels)) == 1 < len(np.unique(others)):
        found = (
            f"all {len(labels)} calibration samples are of class {labels[0]}, the test's of {len(np.unique(others))}"
        )
        raise DataError(f"{doing}: {found}; draw them from all classes, or the ranges of the others are guessed")
