"""The self-test of a freshly loaded model: does it answer the manifest's golden input as the manifest says?"""

import numpy as np

from shoal_agent.engines.engine import Engine, EngineError
from shoal_agent.engines.tensors import Array, from_tensor_data
from shoal_contract.manifest import Variant, VersionManifest


class GoldenMismatchError(EngineError):
    """The model runs, but not as it did where it was made."""

    code = "golden"
    default_remedy = (
        "the file fails on this kind of hardware: compress the version for this target again, or raise the "
        "variant's golden tolerance if the difference is harmless; the last good version keeps serving"
    )


def run_golden(engine: Engine, manifest: VersionManifest, variant: Variant) -> float:
    """Run the golden input and compare every output with the manifest's.

    Returns:
        The largest absolute difference, at most `variant.golden_tolerance`.

    Raises:
        GoldenMismatchError: An output is missing, of another datatype or shape, or differs by more than tolerated.
        EngineError: The runtime failed on the golden input.
    """
    answers = engine.infer({name: from_tensor_data(tensor) for name, tensor in manifest.golden_inputs.items()})
    doing = f"self-test of {manifest.model} version {manifest.version} ({variant.target})"
    differences = {}
    for name, tensor in variant.golden_outputs.items():
        expected = from_tensor_data(tensor)
        answer = answers.get(name)
        if answer is None or answer.shape != expected.shape or answer.dtype != expected.dtype:
            found = "nothing" if answer is None else f"{answer.dtype} {list(answer.shape)}"
            msg = f"{doing}: output {name!r} is {found}, expected {expected.dtype} {list(expected.shape)}"
            raise GoldenMismatchError(msg)
        differences[name] = _largest_difference(answer, expected)
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= variant.golden_tolerance:
        msg = (
            f"{doing}: output {worst!r} differs by {differences[worst]:.6g} from the golden output, "
            f"at most {variant.golden_tolerance:.6g} expected"
        )
        raise GoldenMismatchError(msg)
    return differences[worst]


def _largest_difference(answer: Array, expected: Array) -> float:
    """Return the largest absolute difference; infinity where only one of the two is NaN."""
    if answer.size == 0:
        return 0.0
    if answer.dtype.kind == "O":
        return 0.0 if (answer == expected).all() else np.inf
    with np.errstate(invalid="ignore"):
        difference = np.abs(answer.astype(np.float64) - expected.astype(np.float64))
    same = (answer == expected) | (np.isnan(answer.astype(np.float64)) & np.isnan(expected.astype(np.float64)))
    return float(np.where(same, 0.0, np.nan_to_num(difference, nan=np.inf)).max())
