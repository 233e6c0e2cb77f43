"""What every runtime offers: `Engine`, and the error that all of them raise."""

from collections.abc import Mapping
from typing import Protocol

from shoal_agent.engines.tensors import Array
from shoal_agent.errors import AgentError
from shoal_contract.manifest import TensorSpec


class EngineError(AgentError):
    """A model's file does not load, is not what its manifest says, or its runtime failed on an input."""

    code = "engine"
    default_remedy = "register a corrected version and roll it out; the last good version keeps serving"


class Engine(Protocol):
    """One loaded model. `infer` may be called from several threads at once; `close` only after the last call."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, as the manifest names them; -1 stands for any size."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, as the manifest names them."""

    @property
    def is_in_use(self) -> bool:
        """Whether `infer` would wait for another thread to leave it."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: One array for each of `inputs`, of its datatype and shape, C-contiguous.

        Returns:
            One array for each of `outputs`; the caller owns them.

        Raises:
            EngineError: The runtime failed, or the engine is closed.
        """

    def close(self) -> None:
        """Free the model's memory. Closing twice does nothing."""
