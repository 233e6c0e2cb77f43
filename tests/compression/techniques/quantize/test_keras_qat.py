"""Quantization-aware training: int8 that has learnt, and ranges that begin where the network is."""

from pathlib import Path

import pytest
from tests.compression.zoo import digits

from shoal_compression.budget import Budget
from shoal_compression.comparing import accuracy
from shoal_compression.errors import TechniqueError
from shoal_compression.running import outputs_of
from shoal_compression.techniques.quantize.keras_qat import KerasQat


def test_a_layer_to_skip_that_is_not_there_is_refused(bundle_dir: Path) -> None:
    model, data = digits(bundle_dir, "keras")
    with pytest.raises(TechniqueError, match=r"no layers \['conv9'\] to skip found, they are \['conv1'"):
        KerasQat(skip=("conv9",)).apply(model, data, Budget())


@pytest.mark.slow
def test_without_any_training_the_ranges_alone_keep_the_accuracy(bundle_dir: Path) -> None:
    model, data = digits(bundle_dir, "keras")
    labels = data.test.labels
    assert labels is not None
    made = KerasQat().apply(model, data, Budget(seconds=0))
    scores = [accuracy(outputs_of(one, data.test)["probabilities"], labels) for one in (model, made)]
    assert scores[1] >= scores[0] - 0.02
