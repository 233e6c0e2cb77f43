"""What a gate's plan may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from shoal_hub.gates.plan import FORMS, GatePlan


def test_a_gate_without_a_word_looks_at_errors_with_five_percent_for_the_whole_rollout() -> None:
    plan = GatePlan()
    assert [one.name for one in plan.metrics] == ["error_rate"]
    assert plan.budget(3).levels("error_rate", 0).abort == pytest.approx(0.05 / 3)


def test_alpha_is_one_budget_over_metrics_and_gates() -> None:
    plan = GatePlan.model_validate({"metrics": [{"name": "error_rate", "weight": 3}, {"name": "memory"}]})
    budget = plan.budget(4)
    spent = sum(budget.levels(name, wave).abort for name in ("error_rate", "memory") for wave in range(4))
    assert spent == pytest.approx(plan.alpha)
    assert budget.levels("error_rate", 0).abort == pytest.approx(3 * budget.levels("memory", 0).abort)


@pytest.mark.parametrize("name", FORMS)
def test_each_metric_has_a_margin_of_its_own_where_none_is_given(name: str) -> None:
    plan = GatePlan.model_validate({"metrics": [{"name": name}]})
    metric = plan.metric(plan.metrics[0])
    assert metric.margin == FORMS[metric.name].margin  # type: ignore[index]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"metrics": []}, "at least 1"),
        ({"metrics": [{"name": "happiness"}]}, "error_rate"),
        ({"metrics": [{"name": "memory"}, {"name": "memory"}]}, "named once"),
        ({"metrics": [{"name": "error_rate", "margin": 0.01, "tolerance": 0.02}]}, "below the margin"),
        ({"latency_bound_ms": 100}, "is no edge"),
        ({"min_devices": 4, "max_device_share": 0.1}, "max_device_share"),
        ({"alpha": 0}, "greater than 0"),
        ({"look_s": 0}, "greater than or equal to 1"),
        ({"unknown": 1}, "not permitted"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GatePlan.model_validate(wrong)
