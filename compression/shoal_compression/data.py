"""The data that compression works with: samples to calibrate with, to train on, and held out to compare on."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np

from shoal_compression.errors import DataError
from shoal_compression.labels import check_finite, check_labels
from shoal_compression.model import Model
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import NUMPY_TYPES, Array


@dataclass(frozen=True)
class Samples:
    """Samples of a model: arrays (n, …) by input, and what is known of each sample."""

    inputs: Mapping[str, Array]
    labels: Array | None = None
    """(n,) or (n, 1) classes (integers from 0, or booleans), or targets (floats, also in the shape of the outputs)."""
    slices: Mapping[str, Array] = field(default_factory=dict)
    """(n,) of names each: what a sample belongs to, such as a site or a class of its own."""

    def __post_init__(self) -> None:
        """See that all arrays have as many rows.

        Raises:
            DataError: They have not, there is none, or an array is a single value without rows.
        """
        arrays = [*self.inputs.values(), *self.slices.values()]
        arrays += [] if self.labels is None else [self.labels]
        if any(array.ndim == 0 for array in arrays):
            raise DataError("taking samples: a single value without an axis found; give arrays, a row for each sample")
        rows = sorted({len(array) for array in arrays})
        if not self.inputs or len(rows) != 1 or rows[0] == 0:
            raise DataError(f"taking samples: arrays of {rows or 'no'} rows found; give each as many, at least one")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.inputs.values())))

    def feeds(self, model: Model, batch: int = 1) -> Iterator[dict[str, Array]]:
        """Yield requests in order, arrays (k, …) by input with k up to `batch`, as the model's inputs are typed.

        Of a model without a batch axis each request is one sample as it stands, (…).
        """
        step = batch if model.is_batched else 1
        for start in range(0, len(self), step):
            place = slice(start, start + step) if model.is_batched else start
            yield {name: np.asarray(array[place], order="C") for name, array in self.inputs.items()}

    def first(self, most: int) -> Self:
        """Return at most the first `most` samples."""
        return self.at(np.arange(min(most, len(self))))

    def some(self, most: int, seed: int) -> Self:
        """Return at most `most` samples, drawn without replacement, the same for the same seed."""
        return self.at(np.random.default_rng(seed).permutation(len(self))[:most])

    def at(self, places: Array) -> Self:
        """Return the samples at these places, (k,) int64."""
        return type(self)(
            {name: array[places] for name, array in self.inputs.items()},
            None if self.labels is None else self.labels[places],
            {name: array[places] for name, array in self.slices.items()},
        )


@dataclass(frozen=True)
class Data:
    """What a recipe may use. Nothing is learnt from `test`, and nothing but `test` is reported on."""

    calibration: Samples
    test: Samples
    train: Samples | None = None
    """With labels; None: what has to train can not be used, or learns from the source model's answers alone."""
    teachers: tuple[Model, ...] = ()
    """Models to learn from, of any form; a recipe gives its source."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all arrays, in hex: the same data gives the same fingerprint on every machine."""
        digest = hashlib.sha256()
        for role, samples in (("calibration", self.calibration), ("test", self.test), ("train", self.train)):
            for name, array in _arrays(samples):
                digest.update(f"{role}/{name}/{array.dtype.str}/{array.shape}".encode())
                digest.update(_content(array))
        for teacher in self.teachers:
            digest.update(f"teacher/{teacher.sha256}".encode())
        return digest.hexdigest()

    def check(self, model: Model) -> None:
        """See that the samples fit the model, as `check_samples` does.

        Raises:
            DataError: They do not; it says which.
        """
        for role, samples in (("calibration", self.calibration), ("test", self.test), ("train", self.train)):
            if samples is not None:
                check_samples(samples, model, f"checking the {role} samples")


def _content(array: Array) -> bytes | memoryview:
    """Return what an array holds; of objects, such as texts, each with its length."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array).data
    texts = [repr(one).encode() for one in array.flat]
    return b"".join(b"%d:%s" % (len(text), text) for text in texts)


def _arrays(samples: Samples | None) -> Iterator[tuple[str, Array]]:
    if samples is None:
        return
    for name in sorted(samples.inputs):
        yield f"inputs/{name}", samples.inputs[name]
    if samples.labels is not None:
        yield "labels", samples.labels
    for name in sorted(samples.slices):
        yield f"slices/{name}", samples.slices[name].astype(str)


def check_samples(samples: Samples, model: Model, doing: str) -> None:
    """See that samples fit a model's inputs, and their labels its first output.

    Raises:
        DataError: An input is missing or too many, or has another shape or datatype, or values that are not finite;
            labels or slices are not one for each sample; labels are no numbers, not finite, or no classes of the model.
    """
    expected = {spec.name: spec for spec in model.inputs}
    if set(samples.inputs) != set(expected):
        found = f"inputs {sorted(samples.inputs)} found, expected {sorted(expected)}"
        raise DataError(f"{doing}: {found}; name the arrays as the model names its inputs")
    for name, spec in expected.items():
        _check_input(f"{doing}: input {name}", samples.inputs[name], spec, model)
    for name, values in samples.slices.items():
        if values.ndim != 1:
            found = f"slice {name}: shape {list(values.shape)} found, expected one name for each sample"
            raise DataError(f"{doing}: {found}; give an array (n,)")
    if samples.labels is not None:
        check_labels(samples.labels, model, doing)


def _check_input(doing: str, array: Array, spec: TensorSpec, model: Model) -> None:
    shape = spec.shape[1:] if model.is_batched else spec.shape
    if len(array.shape[1:]) != len(shape) or any(-1 != a != b for a, b in zip(shape, array.shape[1:], strict=True)):
        found = f"shape {list(array.shape[1:])} of a sample found, expected {list(shape)}"
        raise DataError(f"{doing}: {found}; prepare the samples as for a request")
    if array.dtype != NUMPY_TYPES[spec.datatype]:
        raise DataError(f"{doing}: {array.dtype} found, expected {NUMPY_TYPES[spec.datatype]}; convert the samples")
    check_finite(array, doing)
