"""Opens a session of ONNX Runtime: over its C API where that can be used, else over its Python binding."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from shoal_agent.engines.engine import CPU
from shoal_agent.engines.onnx_options import OnnxOptions
from shoal_agent.engines.ort_api import installed_api
from shoal_agent.engines.ort_session import OrtSession
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import Array


class OnnxSession(Protocol):
    """A model in ONNX Runtime. Its memory is freed with the last reference to it, in whatever thread that goes."""

    @property
    def inputs(self) -> list[TensorSpec]:
        """The inputs that the file has; -1 stands for any size."""

    @property
    def outputs(self) -> list[TensorSpec]:
        """The outputs that the file has."""

    def run(self, inputs: Mapping[str, Array], *, shrinks: bool) -> dict[str, Array]:
        """Run the model once, in the calling thread; may be called from several at once.

        Args:
            inputs: An array for each of `inputs`.
            shrinks: Whether arenas give back what the run took of them, if there are any.

        Returns:
            An array for each of `outputs`; it may outlive the session.

        Raises:
            EngineError: An array is not what the runtime could be given.
            Exception: The runtime refused or failed; its errors share no base class.
        """


def open_session(path: Path, options: OnnxOptions) -> OnnxSession:
    """Open a session that runs on the provider that was asked for, or raise.

    Raises:
        EngineError: The file does not load, or the provider does not.
    """
    api = installed_api()
    if api is not None and options.make_session is None and options.setup.accelerator == CPU:
        return OrtSession(api, path, options.setup)
    from shoal_agent.engines.onnx_binding import BoundSession

    return BoundSession(path, options)


def built_providers() -> tuple[str, ...]:
    """Return the execution providers that the installed ONNX Runtime was built with, by its own names."""
    api = installed_api()
    if api is not None:
        return api.providers()
    import onnxruntime as ort

    return tuple(ort.get_available_providers())
