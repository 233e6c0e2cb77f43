"""Kernels that share a few values."""

from pathlib import Path

import numpy as np
import pytest
from tests.compression.zoo import digits

from shoal_compression.budget import Budget
from shoal_compression.keras_file import open_keras
from shoal_compression.techniques.cluster.keras_cluster_weights import KerasClusterWeights


@pytest.mark.slow
def test_each_kernel_has_no_more_values_than_asked(bundle_dir: Path) -> None:
    model, data = digits(bundle_dir, "keras")
    made = KerasClusterWeights(clusters=8, skip=("conv1",), training={"epochs": 1}).apply(model, data, Budget())
    network = open_keras(made)
    values = {one.name: len(np.unique(one.kernel.numpy())) for one in network.layers if hasattr(one, "kernel")}
    assert values["conv1"] > 8
    assert max(values["conv2"], values["hidden"], values["probabilities"]) <= 8
