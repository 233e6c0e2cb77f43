"""What a graph answers, and from which of its tensors that is learnt best: logits rather than probabilities."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.trainable.graph import attributes_of, producers_of
from shoal_numerics.tensors import Array

Task = Literal["classes", "binary", "values"]
_TINY = 1e-7


@dataclass(frozen=True)
class Head:
    """The answer that a network is trained on."""

    task: Task
    output: str
    """The model's output."""
    tap: str
    """The tensor that the loss takes: logits of classes, one logit, or values."""


def head_of(model: Model, proto: onnx.ModelProto, samples: Samples, answers: Array | None) -> Head:
    """Return what the first float output answers.

    Args:
        model: As it is called.
        proto: Its graph.
        samples: Whose labels, (n,) or (n, 1), tell classes (integers, booleans) from values (floats).
        answers: What a teacher says in the place of that output, (n, …) float32; tells probabilities from values
            without labels.

    Raises:
        TechniqueError: No output is of floats.
    """
    floats = [spec for spec in model.outputs if spec.datatype == "FP32"]
    if not floats:
        found = f"outputs of {sorted({spec.datatype for spec in model.outputs})} found"
        raise TechniqueError(f"choosing what to train: {found}, expected one of FP32; leave this step out")
    output = floats[0].name
    node = producers_of(proto).get(output)
    labelled = samples.labels is not None and samples.labels.dtype.kind in "iub"
    if node is not None and node.op_type in {"Softmax", "LogSoftmax"}:
        return Head("classes", output, node.input[0] if _is_last(node, floats[0].shape) else output)
    if node is not None and node.op_type == "Sigmoid":
        return Head("binary", output, node.input[0])
    if labelled and samples.labels is not None:
        is_single = len(floats[0].shape) == 1 or floats[0].shape[-1] == 1
        return Head("binary" if is_single else "classes", output, output)
    if samples.labels is None and answers is not None and are_probabilities(answers):
        return Head("classes", output, output)
    return Head("values", output, output)


def _is_last(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    return attributes_of(node).get("axis", -1) in {-1, len(shape) - 1}


def are_probabilities(answers: Array) -> bool:
    """Return whether rows are distributions over two classes and more."""
    if answers.ndim < 2 or answers.shape[-1] < 2:  # noqa: PLR2004 - a distribution has two classes at least
        return False
    return bool((answers >= 0).all() and np.allclose(answers.sum(axis=-1), 1.0, atol=1e-3))


def logits_of(answers: Array, task: Task) -> Array:
    """Return a teacher's answers as logits (of classes up to a constant), or its values as they are."""
    if task == "classes" and are_probabilities(answers):
        return np.log(np.maximum(answers, _TINY))
    if task == "binary" and (answers >= 0).all() and (answers <= 1).all():
        held = np.clip(answers, _TINY, 1 - _TINY)
        return np.asarray(np.log(held) - np.log1p(-held))
    return answers
