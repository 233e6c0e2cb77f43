"""Learning rates are a function of how far training is, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shoal_training.frameworks.schedule import Optimizer, Schedule

NAMES = st.sampled_from(["constant", "linear", "cosine", "step"])


@given(NAMES, st.floats(0, 5), st.floats(0, 1), st.floats(0, 1), st.integers(1, 50))
def test_a_rate_is_never_above_the_one_that_was_asked_for(
    name: str, warmup: float, final: float, done: float, epochs: int
) -> None:
    schedule = Schedule.model_validate({"name": name, "warmup_epochs": warmup, "final_ratio": final})
    assert 0 <= schedule.ratio(done * epochs, epochs) <= 1


@given(st.sampled_from(["linear", "cosine"]), st.floats(0, 1), st.floats(0, 1))
def test_it_falls_after_the_warm_up(name: str, early: float, late: float) -> None:
    schedule = Schedule.model_validate({"name": name, "warmup_epochs": 2})
    first, second = sorted((early, late))
    assert schedule.ratio(2 + 8 * first, 10) >= schedule.ratio(2 + 8 * second, 10)


def test_it_rises_from_nearly_nothing_to_all_of_it_and_ends_where_it_is_to() -> None:
    schedule = Schedule(name="cosine", warmup_epochs=2, final_ratio=0.1)
    assert 0 < schedule.ratio(0, 10) < 0.01
    assert [schedule.ratio(at, 10) for at in (1, 2, 10)] == pytest.approx([0.5, 1.0, 0.1])


def test_steps_multiply() -> None:
    schedule = Schedule(name="step", step_epochs=3, step_factor=0.5)
    assert [schedule.ratio(at, 10) for at in (0, 2.9, 3, 6)] == [1, 1, 0.5, 0.25]


def test_a_decay_of_weights_goes_with_adamw_alone() -> None:
    with pytest.raises(ValidationError, match="`weight_decay` goes with adamw, not with sgd"):
        Optimizer(name="sgd", weight_decay=0.1)
