"""Runs an ONNX model on samples: along the first axis of its inputs, or one by one where a request is one sample."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal_training.errors import DataError

RUN_BYTES: Final = 16 * 1024 * 1024
"""Of the inputs of one run; at least one sample is run."""
LARGEST_DIFFERENCE: Final = 0.05
"""Of an output's largest value: what a model that quantizes a batch as one may answer otherwise in company."""

Array = NDArray[Any]


class OnnxModel:
    """A loaded ONNX model and how samples lie in its tensors.

    Args:
        model: The file, or its content.
        outputs: Names of the outputs that are asked for; all if empty.
        is_batched: Whether samples lie along the first axis of every input and output.
        threads: Of the CPU; None: all.

    Raises:
        DataError: The file does not load.
    """

    def __init__(
        self, model: Path | bytes, outputs: Sequence[str] = (), *, is_batched: bool = True, threads: int | None = None
    ) -> None:
        import onnxruntime

        content, self._name = (model, "the model") if isinstance(model, bytes) else (model.read_bytes(), model.name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            self.session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors share no base class
            raise DataError(f"running {self._name}: {str(error)[:300]}") from error
        self._outputs = list(outputs) or [found.name for found in self.session.get_outputs()]
        self.is_batched = is_batched

    def runs(self, samples: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """Yield the outputs of one run after the other, in the order of the samples.

        Args:
            samples: By input, (n, ...): along the model's first axis, or with an axis more where it has no batches.

        Raises:
            DataError: The model does not take them.
        """
        count = len(next(iter(samples.values())))
        each_bytes = max(1, sum(array.nbytes for array in samples.values()) // max(1, count))
        step = max(1, RUN_BYTES // each_bytes) if self.is_batched else 1
        for at in range(0, count, step):
            part = {name: array[at : at + step] if self.is_batched else array[at] for name, array in samples.items()}
            yield self._run(part)

    def check_apart(self, samples: Mapping[str, Array]) -> None:
        """See that the model answers two samples together as it does each alone.

        Raises:
            DataError: It does not: its first axis is not one of samples.
        """
        last = len(next(iter(samples.values()))) - 1
        rows = (0, last)
        alone = [self._run({name: array[row : row + 1] for name, array in samples.items()}) for row in rows]
        together = self._run({name: array[list(rows)] for name, array in samples.items()})
        for name, both in together.items():
            if any(len(one[name]) != 1 for one in alone if one[name].ndim) or both.ndim == 0 or len(both) != len(rows):
                raise DataError(self._apart(f"output {name!r} has shape {list(both.shape)} for two samples"))
            expected = np.concatenate([one[name] for one in alone])
            if both.shape != expected.shape or not _are_close(both, expected):
                raise DataError(self._apart(f"output {name!r} is another one than for each alone"))

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        try:
            found = self.session.run(self._outputs, {name: np.asarray(one, order="C") for name, one in feeds.items()})
        except Exception as error:
            raise DataError(f"running {self._name}: {str(error)[:300]}") from error
        return dict(zip(self._outputs, found, strict=True))

    def _apart(self, found: str) -> str:
        return (
            f"running {self._name} on two samples together: {found}, expected that samples lie along the first axis; "
            "if a request is one sample, declare the batching `none` and give data with an axis of samples before the "
            "model's own"
        )


def _are_close(found: Array, expected: Array) -> bool:
    if found.dtype.kind not in "fiu":
        return bool((found == expected).all())
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    bound = LARGEST_DIFFERENCE * max(1e-6, float(np.abs(expected).max(initial=0.0)))
    return bool(np.allclose(found, expected, rtol=0.0, atol=bound, equal_nan=True))
