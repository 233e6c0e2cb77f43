"""What every runtime offers: `Engine`, how it is set up here, and the error that all of them raise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from shoal_agent.errors import AgentError
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import Array

CPU: Final = "cpu"


class EngineError(AgentError):
    """A model's file does not load, is not what its manifest says, or its runtime failed on an input."""

    code = "engine"
    default_remedy = "register a corrected version and roll it out; the last good version keeps serving"


@dataclass(frozen=True)
class EngineSetup:
    """How a model runs on this device.

    Attributes:
        module: The runtime, as Python imports it.
        version: Of the runtime.
        accelerator: `tensorrt` or `cuda`, the library of a LiteRT delegate, or `cpu`, which in LiteRT is XNNPACK.
        threads: That one run takes on the CPU.
        has_arena: Whether the runtime keeps memory of its own between runs.
        run_ms: Milliseconds of a run of the golden input, where that was measured; else 0.
        together: Samples that are best answered together, of requests that wait; 1: each by itself.
        passed_over: Accelerators that would have come first, and why they are not used.
    """

    module: str
    version: str = ""
    accelerator: str = CPU
    threads: int = 1
    has_arena: bool = False
    run_ms: float = 0.0
    together: int = 1
    passed_over: tuple[str, ...] = ()

    def said(self) -> str:
        """Return it as a person reads it, such as `onnxruntime 1.28.0 on cpu, 2 threads, 1.2 ms a run`."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        parts = [f"{self.module} {self.version}".strip() + f" on {self.accelerator}", threads]
        parts += ["with an arena"] if self.has_arena else []
        parts += [f"{self.run_ms:.3g} ms a run"] if self.run_ms else []
        parts += [f"up to {self.together} requests together"] if self.together > 1 else []
        return ", ".join(parts) + "".join(f"; not {one}" for one in self.passed_over)


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

    @property
    def setup(self) -> EngineSetup:
        """How it runs on this device."""

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
