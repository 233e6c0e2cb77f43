"""Keeps a result within a message: operators of candidates go where all of them have no room. Pure."""

from typing import Final

from shoal_contract.benchmarks import BenchmarkResult, CandidateMeasured

MAX_RESULT_BYTES: Final = 64 * 1024
"""Of a result with operators, half of what a message may have: on a slow line it keeps what comes next waiting."""


def with_room(result: BenchmarkResult, max_bytes: int = MAX_RESULT_BYTES) -> BenchmarkResult:
    """Return a result of at most so many bytes, or without any operators; the longest go first, and it is said."""
    measured = list(result.measured)
    while (size_bytes := _size(result)) > max_bytes:
        longest = max(range(len(measured)), key=lambda place: _operators(measured[place]), default=0)
        if not measured or not _operators(measured[longest]):
            break
        why = f"the result has {size_bytes} bytes with all operators, at most {max_bytes} are sent"
        measured[longest] = measured[longest].model_copy(update={"operators": None, "operators_problem": why})
        result = result.model_copy(update={"measured": tuple(measured)})
    return result


def _operators(candidate: CandidateMeasured) -> int:
    return 0 if candidate.operators is None else len(candidate.operators.kind)


def _size(result: BenchmarkResult) -> int:
    return len(result.model_dump_json(exclude_none=True).encode())
