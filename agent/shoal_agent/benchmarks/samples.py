"""Reads the samples that candidates are run on: a safetensors file that came from the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shoal_agent.benchmarks.errors import BenchmarkError
from shoal_contract.benchmarks import INPUT_PREFIX, LABELS
from shoal_contract.formats import RUNTIME_LIMITS, FormatError, check_device_file
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import NUMPY_TYPES, Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BenchmarkSamples:
    """Samples by input, (n, …) each, and their classes (n,) where these are known."""

    inputs: Mapping[str, Array]
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(next(iter(self.inputs.values())))

    def request(self, start: int, count: int, *, is_batched: bool) -> dict[str, Array]:
        """Return a request of `count` samples; without a batch axis, of the one at `start`."""
        place = slice(start, start + count) if is_batched else start
        return {name: np.ascontiguousarray(array[place]) for name, array in self.inputs.items()}


def read_samples(path: Path, specs: Sequence[TensorSpec], max_bytes: int) -> BenchmarkSamples:
    """Read samples and hold them against a model's inputs.

    Raises:
        BenchmarkError: The file is no such file, too large, or its arrays are not what the inputs take.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    doing = "reading the samples of the benchmark"
    remedy = "prepare the samples as for a request, and start the benchmark again"
    try:
        if (size_bytes := path.stat().st_size) > max_bytes:
            raise BenchmarkError(f"{doing}: {size_bytes} bytes, at most {max_bytes} allowed", "send fewer samples")
        check_device_file(path.read_bytes(), "safetensors", RUNTIME_LIMITS)
        arrays = load_file(path)
    except (FormatError, SafetensorError, OSError) as error:
        raise BenchmarkError(f"{doing}: {error}", remedy) from error
    labels = arrays.pop(LABELS, None)
    found = {name.removeprefix(INPUT_PREFIX): array for name, array in arrays.items()}
    if problem := _problem(found, labels, specs):
        raise BenchmarkError(f"{doing}: {problem}", remedy)
    return BenchmarkSamples(found, None if labels is None else labels.astype(np.int64))


def is_batched(specs: Sequence[TensorSpec]) -> bool:
    """Whether the first axis of every input is the batch."""
    return all(spec.shape and spec.shape[0] == -1 for spec in specs)


def _problem(inputs: Mapping[str, Array], labels: Array | None, specs: Sequence[TensorSpec]) -> str:
    """Return why arrays are no samples of a model; empty if they are."""
    if set(inputs) != {spec.name for spec in specs}:
        return f"inputs {sorted(inputs)} found, expected {sorted(spec.name for spec in specs)}"
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
        return f"labels are {labels.dtype} {labels.shape}, expected integers (n,)"
    arrays = [*inputs.values(), *([] if labels is None else [labels])]
    rows = sorted({len(array) if array.ndim else 0 for array in arrays})
    if len(rows) != 1 or rows == [0]:
        return f"arrays of {rows} rows found, expected as many in each, at least one"
    problems = (_input_problem(inputs[spec.name], spec, batched=is_batched(specs)) for spec in specs)
    return next((one for one in problems if one), "")


def _input_problem(array: Array, spec: TensorSpec, *, batched: bool) -> str:
    shape, found = spec.shape[1:] if batched else spec.shape, array.shape[1:]
    fits = len(found) == len(shape) and all(size in {-1, other} for size, other in zip(shape, found, strict=True))
    if not fits or array.dtype != NUMPY_TYPES[spec.datatype]:
        return f"{spec.name} is {array.dtype} {list(found)}, expected {spec.datatype} {list(shape)}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return f"{spec.name} has a value that is not finite"
    return ""
