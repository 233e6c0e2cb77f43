"""ONNX Runtime behind `Engine`: one session, its tensors held against the manifest's."""

from collections.abc import Mapping
from pathlib import Path

from shoal_agent.engines.engine import CPU, EngineError, EngineSetup
from shoal_agent.engines.onnx_options import OnnxOptions, first_line
from shoal_agent.engines.onnx_session import OnnxSession, open_session
from shoal_agent.engines.specs import check_specs
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import Array


class OnnxEngine:
    """A model in ONNX Runtime; runs in the calling thread, and in several at once.

    Where an arena is kept, a run with larger inputs than the first one, the self-test's, gives back what it took.

    Args:
        path: The .onnx file.
        inputs: The manifest's inputs.
        outputs: The manifest's outputs.
        options: How it is to run.

    Raises:
        EngineError: The file does not load, its tensors are not those of the manifest, or the execution provider does
            not load.
    """

    def __init__(
        self,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        options: OnnxOptions | None = None,
    ) -> None:
        options = options or OnnxOptions()
        session = open_session(path, options)
        self._path = path
        self._session: OnnxSession | None = session
        self.inputs = inputs
        self.outputs = outputs
        self.setup: EngineSetup = options.setup
        self._keeps_memory = self.setup.has_arena or self.setup.accelerator != CPU
        self._usual_bytes = 0
        check_specs(str(path), "input", session.inputs, inputs)
        check_specs(str(path), "output", session.outputs, outputs)

    @property
    def is_in_use(self) -> bool:
        """Never: a session runs in several threads at once."""
        return False

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once, see `Engine.infer`."""
        session = self._session
        if session is None:
            msg = f"running {self._path}: the engine is closed"
            raise EngineError(msg, remedy="load the model again")
        try:
            return session.run(inputs, shrinks=self._keeps_memory and self._is_larger(inputs))
        except EngineError:
            raise
        except Exception as error:  # the runtime's errors share no base class
            msg = f"running {self._path}: ONNX Runtime failed: {first_line(error)}"
            raise EngineError(msg) from error

    def close(self) -> None:
        """Free the model's memory."""
        self._session = None

    def _is_larger(self, inputs: Mapping[str, Array]) -> bool:
        """Whether a run takes more than the first one did."""
        size_bytes = sum(array.nbytes for array in inputs.values())
        self._usual_bytes = self._usual_bytes or size_bytes
        return size_bytes > self._usual_bytes
