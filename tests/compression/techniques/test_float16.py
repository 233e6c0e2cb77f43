"""Weights in float16: half the size, or nothing at all."""

from pathlib import Path

import pytest
from tests.compression.zoo import digits

from shoal_compression.budget import Budget
from shoal_compression.errors import TechniqueError
from shoal_compression.techniques.float16 import Float16


def test_a_graph_without_weights_to_halve_is_refused(bundle_dir: Path) -> None:
    case = digits(bundle_dir, "onnx")
    half = Float16().apply(case.model, case.data, Budget())
    with pytest.raises(TechniqueError, match="no float32 weight of 16 elements or more found; leave this step out"):
        Float16().apply(half, case.data, Budget())
