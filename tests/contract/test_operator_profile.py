"""Operators of a file on the wire: columns of one length, of numbers that are bounded."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from shoal_contract.benchmarks import BenchmarkResult, CandidateMeasured, LatencySpread
from shoal_contract.operator_profile import MAX_OPERATOR_KINDS, MAX_OPERATORS, OperatorProfile
from shoal_contract.reported import Problem

GOOD: dict[str, Any] = {
    "kinds": ["MatMul float"],
    "kind": [0, 0],
    "macs": [10, 20],
    "input_bytes": [1, 2],
    "output_bytes": [1, 2],
    "output_elements": [1, 2],
    "times_us": [1.5, 2.5],
}
SPREAD = LatencySpread(p25=1.0, p50=1.0, p75=1.0, p95=1.0, runs=3)


def test_a_profile_goes_round_and_a_field_of_a_later_release_is_ignored() -> None:
    told = OperatorProfile.model_validate_json(json.dumps(GOOD | {"cache_misses": [1, 2]}))
    assert OperatorProfile.model_validate_json(told.model_dump_json()) == told
    assert told.kind == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"macs": [10]},
        {"kind": [0, 1]},
        {"kind": [0, -1]},
        {"kind": []},
        {"kinds": []},
        {"kinds": [""]},
        {"kinds": [str(n) for n in range(MAX_OPERATOR_KINDS + 1)]},
        {"kinds": ["x" * 97]},
        {"macs": [10, -1]},
        {"macs": [10, 10**16]},
        {"input_bytes": [1, 2**70]},
        {"output_elements": [1, 1.5]},
        {"times_us": [1.5, -0.1]},
        {"times_us": [1.5, 1e11]},
        {name: [0] * (MAX_OPERATORS + 1) for name in GOOD if name != "kinds"},
    ],
)
def test_what_no_runtime_would_tell_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OperatorProfile.model_validate_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_times_that_are_not_finite_are_refused(number: str) -> None:
    with pytest.raises(ValidationError):
        OperatorProfile.model_validate_json(json.dumps(GOOD).replace("2.5", number))


def test_a_candidate_that_was_not_measured_has_no_operators_and_an_older_device_tells_none() -> None:
    operators = OperatorProfile.model_validate(GOOD)
    problem = Problem(code="benchmark", message="it crashed", remedy="leave it out")
    with pytest.raises(ValidationError, match="operators of a candidate found that was not measured"):
        CandidateMeasured(name="a", sha256="1" * 64, problem=problem, operators=operators)
    old = CandidateMeasured(name="a", sha256="1" * 64, latency_ms=SPREAD)
    told = BenchmarkResult(benchmark="b", outcome="done", measured=(old,)).model_dump_json(exclude_none=True)
    assert "operators" not in told
    assert BenchmarkResult.model_validate_json(told).measured[0].operators is None
