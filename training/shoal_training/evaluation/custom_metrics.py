"""Metrics of the user's own: a function in a file beside the pipeline file, of the truth and the scores."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from shoal_compression.values import Value
from shoal_training.errors import DataError
from shoal_training.evaluation.metric import Metric
from shoal_training.evaluation.user_function import UserFunction
from shoal_training.onnx_samples import Array

MAX_CUSTOM_METRICS = 32


class CustomMetric(Value):
    """A metric that a pipeline file brings along."""

    function: str = Field(pattern=r"^[\w./-]+\.py:[A-Za-z_]\w*$", max_length=512)
    """`file.py:function`, relative to the pipeline file: takes truth and scores as arrays, returns one number."""
    name: str = Field(default="", max_length=64, pattern=r"^[\w.-]*$")
    """The function's without."""
    is_rising: bool = True
    """Whether more is better."""

    @property
    def shown_name(self) -> str:
        """What it is called in limits, records and cards."""
        return self.name or self.function.rpartition(":")[2]

    def decided_by(self, folder: Path) -> str:
        """Return the hash of its file, which decides its value as its fields do.

        Raises:
            DataError: There is no such file.
        """
        return UserFunction(self.function, folder).sha256()

    def metric(self, folder: Path) -> Metric:
        """Return what measures.

        Raises:
            DataError: The file can not be read or run, or has no such function.
        """
        function = UserFunction(self.function, folder).load()
        doing = f"measuring {self.shown_name} by {self.function}"

        def value(truth: Array, scores: Array) -> float:
            try:
                found = function(np.array(truth), np.array(scores))
            except Exception as error:  # whatever the user's code raises
                raise DataError(f"{doing}: {type(error).__name__}: {error}; mend the function") from error
            try:
                return float(found)
            except (TypeError, ValueError) as error:
                raise DataError(f"{doing}: it returned {str(found)[:80]!r}, expected one number") from error

        return Metric(self.shown_name, is_rising=self.is_rising, value=value)


def _named(given: Any) -> Any:  # noqa: ANN401 - what a file has
    return {"function": given} if isinstance(given, str) else given


AnyCustomMetric = Annotated[CustomMetric, BeforeValidator(_named)]
"""A metric with its fields; in a file `file.py:function` alone is enough."""
