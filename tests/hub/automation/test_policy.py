"""What a policy may say, and what its run then does."""

from typing import Any

import pytest
from pydantic import ValidationError
from tests.hub.automation.policies import DRIFT, LEARN, TELL, body, policy

from shoal_hub.automation.policy import Policy


def test_the_comparison_comes_before_the_candidate_first_goes_to_devices() -> None:
    kinds = [step.kind for step in policy().plan()]
    assert kinds == ["federated", "recompress", "compare", "roll_out", "notify"]
    with_trial = policy(then=[*LEARN, {"kind": "trial"}, {"kind": "roll_out"}])
    assert [step.kind for step in with_trial.plan()] == ["federated", "recompress", "compare", "trial", "roll_out"]


def test_without_the_guard_or_with_a_comparison_of_ones_own_none_is_added() -> None:
    assert "compare" not in [step.kind for step in policy(guards={"beat_champion": None}).plan()]
    own = policy(then=[LEARN[0], {"kind": "compare"}, LEARN[1], {"kind": "roll_out"}])
    assert [step.kind for step in own.plan()].count("compare") == 1
    assert [step.kind for step in policy(then=[TELL]).plan()] == ["notify"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"then": [{"kind": "roll_out"}]}, "roll_out has no candidate"),
        ({"then": [LEARN[0], {"kind": "roll_out"}]}, "roll_out before recompress"),
        ({"then": [*LEARN, {"kind": "retrain"}]}, "a run makes one candidate"),
        ({"then": [*LEARN, {"kind": "roll_out"}, {"kind": "roll_back"}]}, "roll_back and roll_out"),
        ({"then": [*LEARN, {"kind": "roll_out", "wafes": [1]}]}, "wafes"),
        ({"then": []}, "at least 1"),
        ({"when": {"kind": "accuracy_drop"}}, "give `below`, `drop`, or both"),
        ({"when": {"kind": "schedule", "cron": "61 * * * *"}}, "no cron expression"),
        ({"when": {"kind": "schedule", "cron": "0 0 30 2 *"}}, "no cron expression"),
        ({"when": {"kind": "schedule", "cron": "* * * * * *"}}, "number of fields"),
        ({"when": {"kind": "schedule"}}, "either `cron` or `every_s`"),
        ({"when": {"kind": "weather"}}, "weather"),
        ({"guards": {"quiet_hours": {"start": "22:00", "end": "06:00", "timezone": "Mars/Olympus"}}}, "no time zone"),
        ({"guards": {"beat_champion": {"shadow": {}}}}, "asks for a trial before roll_out"),
        ({"guards": {"cool_down_s": float("nan")}}, "finite"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_the_reason(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told.replace("(", "\\(")):
        Policy.model_validate(body(**changes))


def test_a_policy_comes_back_from_json_as_it_was() -> None:
    guards = {"beat_champion": {"shadow": {"margin": 0.1}}, "quiet_hours": {"start": "22:00", "end": "06:00"}}
    full = policy(then=[*LEARN, {"kind": "trial"}, {"kind": "roll_out"}], when=[DRIFT], guards=guards)
    assert Policy.model_validate_json(full.model_dump_json()) == full
    assert full.guards.beat_champion is not None
    assert full.guards.beat_champion.trial is not None
    assert full.guards.beat_champion.trial.margin == 0.1
    assert "shadow" in full.model_dump(mode="json")["guards"]["beat_champion"]
