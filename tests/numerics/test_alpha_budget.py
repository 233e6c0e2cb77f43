"""One error probability, split over metrics and waves: nothing more is ever spent."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import AlphaBudget, GateError, Levels

WEIGHTS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)


@given(st.floats(1e-6, 0.2), WEIGHTS, WEIGHTS)
def test_what_all_metrics_and_waves_may_spend_is_alpha(alpha: float, metrics: list[float], waves: list[float]) -> None:
    names = [f"metric_{number}" for number in range(len(metrics))]
    budget = AlphaBudget(alpha, tuple(zip(names, metrics, strict=True)), tuple(waves))
    levels = [budget.levels(name, wave) for name in names for wave in range(len(waves))]
    assert math.fsum(level.abort for level in levels) == pytest.approx(alpha, rel=1e-12)
    # All metrics must agree to advance, so a wave's error is that of one of them.
    assert math.fsum(budget.of_wave(wave) for wave in range(len(waves))) == pytest.approx(alpha, rel=1e-12)
    assert {level.advance for level in levels} == {budget.of_wave(wave) for wave in range(len(waves))}
    assert budget.spent(len(waves) - 1) == pytest.approx(alpha, rel=1e-12)
    spent = [budget.spent(wave) for wave in range(len(waves))]
    assert spent == sorted(spent)


def test_weights_are_proportions() -> None:
    budget = AlphaBudget(0.05, (("error_rate", 3.0), ("latency", 1.0)), (1.0, 4.0))
    assert budget.levels("error_rate", 1).abort == pytest.approx(0.05 * 0.75 * 0.8)
    assert budget.levels("latency", 0).abort == pytest.approx(0.05 * 0.25 * 0.2)
    assert budget.levels("latency", 0).advance == pytest.approx(0.05 * 0.2)
    assert AlphaBudget.even(0.05, ("a", "b"), 2).levels("a", 0).abort == pytest.approx(0.0125)


def test_what_cannot_be_split_is_refused() -> None:
    for metrics, waves in (((), (1.0,)), ((("a", 1.0),), ()), ((("a", 1.0), ("a", 2.0)), (1.0,))):
        with pytest.raises(GateError, match="at least one of each, and each name once"):
            AlphaBudget(0.05, metrics, waves)
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(GateError, match="must be above 0 and finite"):
            AlphaBudget(0.05, (("a", weight),))
    with pytest.raises(GateError, match="alpha is 0.5"):
        AlphaBudget.even(0.5, ("a",))
    with pytest.raises(GateError, match="alpha is 0"):
        Levels(abort=0.01, advance=0.0)


def test_what_the_budget_has_nothing_for_is_refused() -> None:
    budget = AlphaBudget.even(0.05, ("a", "b"), 2)
    with pytest.raises(GateError, match="no metric 'c'"):
        budget.levels("c", 0)
    for wave in (-1, 2):
        with pytest.raises(GateError, match="none of 0 to 1"):
            budget.levels("a", wave)
        with pytest.raises(GateError, match="none of 0 to 1"):
            budget.spent(wave)
