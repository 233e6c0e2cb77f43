"""What a candidate has to show: on held-out samples at the hub, and in a trial on the devices."""

import pytest

from shoal_hub.automation.judge import Score, TrialCounts, has_enough, judge_held_out, judge_trial
from shoal_hub.automation.policy import HeldOutGuard, TrialGuard


def score(source: str, champion: int, candidate: int, samples: int = 200, form: str = "original") -> Score:
    return Score.model_validate(
        {"source": source, "form": form, "samples": samples, "champion": champion, "candidate": candidate}
    )


def passes(*scores: Score, **guard: float) -> bool:
    return judge_held_out(HeldOutGuard.model_validate({"min_samples": 100} | guard), scores).holds


def test_captured_samples_decide_where_there_are_enough() -> None:
    assert passes(score("captured", 100, 150), score("bundle", 190, 190))
    assert not passes(score("captured", 150, 150), score("bundle", 150, 190)), "as good is not better"
    assert passes(score("captured", 50, 10, samples=60), score("bundle", 180, 190)), "too few of them"


def test_what_it_gains_on_new_samples_it_may_not_lose_on_the_old_ones() -> None:
    assert passes(score("captured", 100, 150), score("bundle", 190, 187))
    assert not passes(score("captured", 100, 150), score("bundle", 190, 180))


def test_it_has_to_win_by_the_margin_in_every_form_that_devices_run() -> None:
    assert passes(score("bundle", 150, 162), margin=0.05)
    assert not passes(score("bundle", 150, 160), margin=0.05), "by more than the margin"
    assert not passes(score("bundle", 150, 190), score("bundle", 150, 140, form="generic-onnx-int8"))


def test_without_enough_samples_nothing_is_shown() -> None:
    found = judge_held_out(HeldOutGuard(min_samples=300), [score("bundle", 100, 200)])
    assert not found.holds
    assert "at least 300" in found.reason
    assert not judge_held_out(HeldOutGuard(), []).holds


def counts(correct: int, against: int, labelled: int = 200, errors: int = 0) -> TrialCounts:
    return TrialCounts(
        requests=1000,
        errors=errors,
        labelled=labelled,
        correct=correct,
        against_labelled=labelled,
        against_correct=against,
        least_labelled=labelled // 4,
    )


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (counts(190, 150), True),
        (counts(150, 150), False),
        (counts(150, 190), False),
        (counts(90, 50, labelled=99), False),
        (counts(190, 150, errors=11), False),
        (counts(190, 150, errors=10), True),
        (TrialCounts(), False),
    ],
)
def test_in_a_trial_it_has_to_be_right_more_often_and_to_answer(found: TrialCounts, holds: bool) -> None:
    verdict = judge_trial(TrialGuard(), found, "in shadow")
    assert verdict.holds == holds
    assert verdict.reason


def test_a_trial_has_seen_enough_when_both_versions_have_the_labels_that_are_asked_for() -> None:
    assert has_enough(TrialGuard(min_samples=200), counts(0, 0))
    assert not has_enough(TrialGuard(min_samples=201), counts(0, 0))
    assert not has_enough(None, counts(0, 0))


def test_a_trial_waits_for_the_device_that_has_told_least() -> None:
    assert has_enough(TrialGuard(min_samples_each=50), counts(0, 0))
    assert not has_enough(TrialGuard(min_samples_each=51), counts(0, 0))
