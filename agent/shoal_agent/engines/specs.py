"""Does a loaded file have the inputs and outputs that its manifest promises?"""

from collections.abc import Sequence

from shoal_agent.engines.engine import EngineError
from shoal_contract.manifest import TensorSpec, is_compatible


def check_specs(path: str, role: str, found: Sequence[TensorSpec], expected: Sequence[TensorSpec]) -> None:
    """Hold a file's tensors against the manifest's, by name; sizes that either side leaves open (-1) agree.

    Args:
        path: The file, for the error's text.
        role: `input` or `output`, for the error's text.
        found: What the runtime read in the file.
        expected: What the manifest says.

    Raises:
        EngineError: A tensor is missing, surplus, or of another datatype or shape.
    """
    by_name = {spec.name: spec for spec in found}
    if set(by_name) != {spec.name for spec in expected} or len(found) != len(expected):
        msg = f"loading {path}: {role}s {_names(found)} found, {_names(expected)} expected by the manifest"
        raise EngineError(msg)
    for spec in expected:
        other = by_name[spec.name]
        if other.datatype != spec.datatype or not is_compatible(other.shape, spec.shape):
            msg = (
                f"loading {path}: {role} {spec.name!r} is {other.datatype} {list(other.shape)}, "
                f"expected {spec.datatype} {list(spec.shape)} by the manifest"
            )
            raise EngineError(msg)


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(repr(spec.name) for spec in specs) or "none"
