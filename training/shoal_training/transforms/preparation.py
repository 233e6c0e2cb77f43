"""What was fitted to turn rows into a model's numbers: on tables here, and as an ONNX graph on devices.

`fit_preparation` fits one by the pipeline file's transformation; `joined_graph` puts its graph before the model's.
"""

from typing import TYPE_CHECKING, Any, Protocol

from shoal_contract.manifest import TensorSpec
from shoal_training.onnx_samples import Array
from shoal_training.transforms.step import Affine

if TYPE_CHECKING:
    import pyarrow as pa

PREPARED = "prepared"
"""The output of the graph, which is what a trainer gets: (n, ...) float32."""


class Preparation(Protocol):
    """A fitted transformation. The graph and the table's way give the same numbers; a test of each holds them to it."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Of the whole model: samples along the first axis, -1."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what a trainer gets, in order; empty: it is a tensor whose values have none."""

    @property
    def affine(self) -> Affine | None:
        """All of it, where it is a factor and a shift of each channel of a tensor; None: it is something else."""

    def arrays(self, table: "pa.Table") -> dict[str, Array]:
        """Return rows as the whole model's inputs, by name, (n, ...) each.

        Raises:
            DataError: A column is missing or of another type.
        """

    def prepared(self, table: "pa.Table") -> Array:
        """Return rows as the trainer gets them, (n, ...) float32; row order is kept.

        Raises:
            DataError: As above.
        """

    def graph(self) -> Any | None:  # noqa: ANN401 - onnx has few types
        """Return the ONNX model from `inputs` to `PREPARED`; None: they are the same tensor."""
