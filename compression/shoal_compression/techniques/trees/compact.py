"""Compact trees: an ensemble of trees in a form a fraction of the size, which answers the same."""

from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.comparing import agreement
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.quantize.preparing import LOWEST_OPSET, with_opset

if TYPE_CHECKING:
    import onnx

ENSEMBLES: Final = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})
ML_OPSET: Final = 5
"""Of ai.onnx.ml, which has `TreeEnsemble`."""
LEAST_AGREEMENT: Final = 0.999


class TreeCompact(Technique):
    """Write ensembles of trees as `TreeEnsemble` of ai.onnx.ml 5: modes in a byte, no names of modes, no hit rates.

    Leaves and subtrees that are equal stand once, and splits whose ways are equal are left out. The answers stay the
    same but for rounding, unless `leaf_bits` rounds leaves. ONNX Runtime 1.20 and newer runs the file.
    """

    technique: Literal["tree-compact"] = "tree-compact"
    leaf_bits: int | None = Field(default=None, ge=4, le=24)
    """Round leaves to 2^bits steps, so that more of them are equal; None rounds nothing."""
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    tools: ClassVar[tuple[str, ...]] = ("onnx",)

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the smaller model.

        Raises:
            SourceError: Its opset can not be raised.
            TechniqueError: It has no trees, trees of a kind that is not known, or its answers are others afterwards.
        """
        import onnx

        from shoal_compression.techniques.trees.writing import replaced

        proto = with_opset(onnx.load_from_string(model.content), LOWEST_OPSET, f"applying {self.name}")
        found = [node for node in proto.graph.node if node.op_type in ENSEMBLES and node.domain == "ai.onnx.ml"]
        if not found:
            msg = f"applying {self.name}: no {' or '.join(sorted(ENSEMBLES))} found"
            raise TechniqueError(f"{msg}; use int8 techniques for networks")
        _check_others(proto)
        nodes: list[onnx.NodeProto] = []
        for node in proto.graph.node:
            nodes.extend(replaced(proto, node, self.leaf_bits) if node in found else [node])
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del proto.graph.node[:]
        proto.graph.node.extend(copies)
        for one in proto.opset_import:
            if one.domain == "ai.onnx.ml":
                one.version = ML_OPSET
        made = model.with_content(proto.SerializeToString(deterministic=True))
        progress(self.name, 1, 1)
        if made.size_bytes >= model.size_bytes:
            sizes = f"{made.size_bytes} bytes made of {model.size_bytes}"
            raise TechniqueError(f"applying {self.name}: {sizes}, as leaves answer for many targets; keep it as it is")
        _compare(model, made, data, is_exact=self.leaf_bits is None)
        return made


def _check_others(proto: "onnx.ModelProto") -> None:
    """See that no other node means something else in the newer opset."""
    version = next((one.version for one in proto.opset_import if one.domain == "ai.onnx.ml"), ML_OPSET)
    if version < 2 and any(node.op_type == "LabelEncoder" for node in proto.graph.node):  # noqa: PLR2004 - of ONNX ML
        found = "a LabelEncoder of ai.onnx.ml 1 found"
        raise TechniqueError(f"applying tree-compact: {found}; export the model with ai.onnx.ml 2 or newer")


def _compare(before: Model, after: Model, data: Data, *, is_exact: bool) -> None:
    """See that both answer the same to the calibration samples.

    Raises:
        TechniqueError: They do not.
    """
    was, now = outputs_of(before, data.calibration), outputs_of(after, data.calibration)
    for spec in before.outputs:
        first, second = was[spec.name], now[spec.name]
        if first.dtype.kind == "f" and is_exact and not np.allclose(first, second, rtol=1e-4, atol=1e-5):
            found = f"{spec.name} differs by {float(np.abs(first - second).max()):g}"
            raise TechniqueError(f"applying tree-compact: {found}; keep the model as it is, and report its trees")
        if first.dtype.kind != "f" or first.ndim > 1:
            share = float((first == second).mean()) if first.dtype.kind != "f" else agreement(first, second)
            if share < LEAST_AGREEMENT and len(first) >= 1 / (1 - LEAST_AGREEMENT):
                found = f"{share:.4f} of the answers of {spec.name} are the same"
                raise TechniqueError(f"applying tree-compact: {found}, {LEAST_AGREEMENT} expected; set more leaf_bits")
