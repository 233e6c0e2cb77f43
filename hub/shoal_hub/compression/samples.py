"""Held-out samples as devices get them, and what the source answers to them at the hub."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from shoal_compression.comparing import classes_of
from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.verify import answers_numbers, has_classes
from shoal_contract.benchmarks import INPUT_PREFIX, LABELS

MAX_BYTES = 32 * 1024 * 1024
"""Of the file; fewer samples go where they are large."""


class SourceHere(BaseModel):
    """What stands in for the source on devices that can not run it."""

    model_config = ConfigDict(frozen=True)

    is_numbers: bool = False
    """Whether outputs are numbers, and not classes."""
    right: str = ""
    """Of each sample that devices get, in order, `1` where the source has its label's class; empty without classes."""

    def right_of(self, samples: int) -> int | None:
        """Return how many of the first samples the source has right; None where it is not known."""
        return self.right[:samples].count("1") if 0 < samples <= len(self.right) else None


def device_samples(samples: Samples, most: int) -> Samples:
    """Return the samples that devices get: the first ones."""
    each = sum(array[:1].nbytes for array in samples.inputs.values()) or 1
    return samples.first(max(1, min(most, MAX_BYTES // each)))


def samples_file(samples: Samples) -> bytes:
    """Return samples as a safetensors file."""
    from safetensors.numpy import save

    arrays = {f"{INPUT_PREFIX}{name}": np.ascontiguousarray(array) for name, array in samples.inputs.items()}
    if samples.labels is not None and has_classes(samples):
        arrays[LABELS] = np.ascontiguousarray(samples.labels.reshape(-1), np.int64)
    content: bytes = save(arrays)
    return content


def source_here(reference: Model, samples: Samples) -> SourceHere:
    """Return what the source answers to the samples of devices.

    Raises:
        TechniqueError: It does not run.
    """
    answers = outputs_of(reference, samples)[reference.outputs[0].name]
    if samples.labels is None or not has_classes(samples):
        return SourceHere(is_numbers=answers_numbers(answers, samples))
    right = classes_of(answers) == samples.labels.reshape(-1)
    return SourceHere(right="".join("1" if one else "0" for one in right))
