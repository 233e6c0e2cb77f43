"""What devices tell of a benchmark: from older agents too, and nothing that can not be."""

from typing import Any

import pytest
from pydantic import ValidationError

from shoal_contract.benchmarks import MAX_POWER, CandidateMeasured, Paired

OLD: dict[str, Any] = {
    "name": "int8",
    "sha256": "8" * 64,
    "latency_ms": {"p25": 1.0, "p50": 1.0, "p75": 1.0, "p95": 1.0, "runs": 50},
    "samples": 50,
}


def test_what_older_agents_tell_is_read() -> None:
    told = CandidateMeasured.model_validate(OLD | {"agreed": 0, "right": 40})
    assert (told.agreed, told.right, told.paired, told.load_before) == (0, 40, None, None)


def test_a_candidate_without_a_reference_says_nothing_of_agreement_on_the_wire() -> None:
    assert "agreed" not in CandidateMeasured.model_validate(OLD).model_dump(exclude_none=True)


@pytest.mark.parametrize(
    "paired",
    [
        {"samples": 0},
        {"samples": 20, "right": 10},
        {"samples": 20, "right": 21, "first_right": 20},
        {"samples": 20, "right": 1, "first_right": 21},
        {"samples": 20, "signal": 1.0},
        {"samples": 20, "signal": 1.0, "noise": -1.0},
        {"samples": 20, "signal": 1.0, "noise": 2 * MAX_POWER},
        {"samples": 20, "signal": 1.0, "noise": float("nan")},
        {"samples": 51},
    ],
)
def test_pairs_that_can_not_be_are_refused(paired: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CandidateMeasured.model_validate(OLD | {"paired": paired})


def test_no_more_agree_than_were_compared() -> None:
    with pytest.raises(ValidationError, match="21 agreed of 20 samples beside the first found"):
        CandidateMeasured.model_validate(OLD | {"agreed": 21, "paired": Paired(samples=20).model_dump()})
