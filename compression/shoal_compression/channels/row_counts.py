"""Sees that a graph that was cut still answers requests of any number of samples."""

from typing import Final

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import Run, load
from shoal_numerics.tensors import Array

BATCHES: Final = (1, 3)


def check_rows(made: Model, source: Model, samples: Samples) -> None:
    """See that a model answers in the shapes of its source, to one sample and to several.

    Raises:
        TechniqueError: It does not.
    """
    expected, found = load(source), load(made)
    for rows in BATCHES if made.is_batched else (1,):
        place = np.arange(rows) % len(samples) if made.is_batched else 0
        feeds = {name: np.array(array[place], order="C") for name, array in samples.inputs.items()}
        wanted, answered = _shapes(expected, feeds), _shapes(found, feeds)
        if wanted != answered:
            said = f"{answered} answered to {rows} samples, {wanted} expected"
            step = "leave this step out, or report the model's operators"
            raise TechniqueError(f"checking the graph without some of its channels: {said}; {step}")


def _shapes(run: Run, feeds: dict[str, Array]) -> str:
    try:
        answers = run(feeds)
    except Exception as error:  # noqa: BLE001 - the runtime's errors share no base class
        return str(error)[:300]
    return ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(answers.items()))
