"""Zeros exactly where they are asked, also where the time was too short to train."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.compression.zoo import digits

from shoal_compression.budget import Budget
from shoal_compression.errors import TechniqueError
from shoal_compression.keras_file import open_keras
from shoal_compression.techniques.prune.keras_prune_2_4 import KerasPrune24
from shoal_compression.techniques.prune.keras_prune_magnitude import KerasPruneMagnitude
from shoal_compression.techniques.prune.keras_sparsity import smallest_to_zero, two_of_four_to_zero


@given(st.integers(1, 300), st.floats(0, 1, exclude_max=True), st.integers(0, 99))
def test_the_smallest_share_becomes_zero_and_the_rest_stays(size: int, sparsity: float, seed: int) -> None:
    kernel = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    made = smallest_to_zero(kernel, sparsity)
    gone = made == 0
    assert int(gone.sum()) == int(np.floor(sparsity * size))
    np.testing.assert_array_equal(made[~gone], kernel[~gone])
    if gone.any():
        assert np.abs(kernel[gone]).max() <= np.abs(kernel[~gone]).min()


@pytest.mark.parametrize("shape", [(8, 5), (3, 3, 4, 6)])
def test_two_of_each_four_inputs_become_zero(shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = two_of_four_to_zero(kernel)
    groups = np.moveaxis(made, -2, -1).reshape(-1, 4)
    assert ((groups == 0).sum(axis=1) == 2).all()
    np.testing.assert_array_equal(made[made != 0], kernel[made != 0])
    np.testing.assert_array_equal(two_of_four_to_zero(made), made)


def test_inputs_that_are_not_in_fours_stay_dense() -> None:
    kernel = np.ones((3, 3, 1, 8), np.float32)
    np.testing.assert_array_equal(two_of_four_to_zero(kernel), kernel)


def test_a_layer_to_skip_that_is_not_there_is_refused(bundle_dir: Path) -> None:
    model, data = digits(bundle_dir, "keras")
    with pytest.raises(TechniqueError, match=r"no layers \['conv9'\], layers with a kernel are \['conv1'"):
        KerasPruneMagnitude(skip=("conv9",)).apply(model, data, Budget())


@pytest.mark.slow
def test_a_budget_that_is_spent_still_gives_the_sparsity_asked(bundle_dir: Path) -> None:
    model, data = digits(bundle_dir, "keras")
    made = KerasPruneMagnitude(sparsity=0.6, skip=("conv1",)).apply(model, data, Budget(seconds=0))
    network = open_keras(made)
    shares = {name: float((network.get_layer(name).kernel.numpy() == 0).mean()) for name in ("conv2", "hidden")}
    assert shares == pytest.approx({"conv2": 0.6, "hidden": 0.6}, abs=1e-3)
    assert (network.get_layer("conv1").kernel.numpy() != 0).all()


@pytest.mark.slow
def test_training_keeps_the_pattern_of_two_in_four(bundle_dir: Path) -> None:
    model, data = digits(bundle_dir, "keras")
    network = open_keras(KerasPrune24(training={"epochs": 1}).apply(model, data, Budget()))
    for name in ("conv2", "hidden", "probabilities"):
        groups = np.moveaxis(network.get_layer(name).kernel.numpy(), -2, -1).reshape(-1, 4)
        assert ((groups == 0).sum(axis=1) >= 2).all()
