"""What docs/guides/automation.md shows is what the hub takes."""

import re
from pathlib import Path
from typing import get_args

import yaml

from shoal_hub.automation.conditions import Condition
from shoal_hub.automation.policy import BeatChampion, Budget, Guards, Policy, QuietHours
from shoal_hub.automation.steps import PolicyStep

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "automation.md").read_text()


def test_its_policy_is_one_and_says_all_that_guards_can() -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    policy = Policy.model_validate(yaml.safe_load(shown))
    assert [step.kind for step in policy.plan()].count("compare") == 1
    assert policy.guards.beat_champion is not None
    assert policy.guards.beat_champion.trial is not None
    assert str(policy.guards.quiet_hours.timezone if policy.guards.quiet_hours else "") == "Europe/Berlin"
    for model in (Budget, BeatChampion, QuietHours, Guards):
        names = {field.alias or name for name, field in model.model_fields.items()} - {"metric", "step_timeout_s"}
        assert {name for name in names if name not in GUIDE} == set()


def test_it_tells_of_every_condition_and_step() -> None:
    models = [one for union in (Condition, PolicyStep) for one in get_args(get_args(union)[0])]
    kinds = [one.model_fields["kind"].default for one in models]
    assert len(kinds) == 14
    assert {kind for kind in kinds if f"| `{kind}` |" not in GUIDE} == set()
