"""The self-test of a freshly loaded model: does it answer the manifest's golden input as the manifest says?"""

from __future__ import annotations

import numpy as np

from shoal_agent.engines.engine import Engine, EngineError
from shoal_contract.manifest import Variant, VersionManifest
from shoal_numerics.golden_tensors import golden_array, golden_part
from shoal_numerics.tensors import NUMPY_TYPES, Array


class GoldenMismatchError(EngineError):
    """The model runs, but not as it did where it was made."""

    code = "golden"
    default_remedy = (
        "the file fails on this kind of hardware: compress the version for this target again, or raise the "
        "variant's golden tolerance if the difference is harmless; the last good version keeps serving"
    )


def golden_inputs(manifest: VersionManifest) -> dict[str, Array]:
    """Return the golden input of a version, by name; what is too large to travel is made here."""
    return {name: golden_array(tensor) for name, tensor in manifest.golden_inputs.items()}


def run_golden(engine: Engine, manifest: VersionManifest, variant: Variant) -> float:
    """Run the golden input and compare every output with the manifest's.

    Returns:
        The largest absolute difference, at most `variant.golden_tolerance`.

    Raises:
        GoldenMismatchError: An output is missing, of another datatype or shape, or differs by more than tolerated.
        EngineError: The runtime failed on the golden input.
    """
    answers = engine.infer(golden_inputs(manifest))
    doing = f"self-test of {manifest.model} version {manifest.version} ({variant.target})"
    differences = {}
    for name, tensor in variant.golden_outputs.items():
        answer, kind = answers.get(name), NUMPY_TYPES[tensor.datatype]
        if answer is None or answer.shape != tensor.shape or answer.dtype != kind:
            found = "nothing" if answer is None else f"{answer.dtype} {list(answer.shape)}"
            msg = f"{doing}: output {name!r} is {found}, expected {kind} {list(tensor.shape)}"
            raise GoldenMismatchError(msg)
        expected, part = golden_part(answer, tensor)
        differences[name] = _largest_difference(part, expected)
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
