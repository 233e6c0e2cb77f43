"""Opens ONNX models in ONNX Runtime on the CPU, in one thread unless more are asked for, with errors alone logged."""

from collections.abc import Sequence
from typing import Any

_ERRORS_ALONE = 3
"""Of ONNX Runtime's levels of severity."""


def session_options(threads: int = 1) -> Any:  # noqa: ANN401 - the runtime has no types
    """Return the options of such a session, to add to."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ALONE
    return options


def open_onnx(content: bytes, options: Any = None, disabled: Sequence[str] = ()) -> Any:  # noqa: ANN401 - as above
    """Return the session of a file's bytes; the runtime's errors share no base class.

    Args:
        content: The file.
        options: Of `session_options`; its defaults if None.
        disabled: Names of the runtime's optimizers that are left out.
    """
    import onnxruntime as ort

    options, providers = options or session_options(), ["CPUExecutionProvider"]
    return ort.InferenceSession(content, options, providers=providers, disabled_optimizers=[*disabled])
