"""Compositions that mean nothing are refused where they are declared."""

import pytest
from pydantic import ValidationError

from shoal_contract.compositions import Cascade, DesiredComposition, Ensemble, Member, Stage


def pair(first: float | None, last: float | None) -> tuple[Stage, Stage]:
    return Stage(model="a", confidence=first), Stage(model="b", confidence=last)


def test_a_cascade_knows_from_which_confidence_on_each_model_but_the_last_is_taken() -> None:
    assert Cascade(stages=pair(0.9, None)).stages[0].confidence == 0.9
    with pytest.raises(ValidationError, match="a has no confidence"):
        Cascade(stages=pair(None, None))
    with pytest.raises(ValidationError, match="b is the last model"):
        Cascade(stages=pair(0.9, 0.9))


def test_a_plain_mean_has_no_weights() -> None:
    members = (Member(model="a", weight=2), Member(model="b"))
    assert Ensemble(members=members).combine == "weighted_mean"
    with pytest.raises(ValidationError, match="a plain mean has no weights"):
        Ensemble(combine="mean", members=members)


def test_a_model_is_a_member_once() -> None:
    with pytest.raises(ValidationError, match="a is named 2 times"):
        Ensemble(members=(Member(model="a"), Member(model="a")))
    with pytest.raises(ValidationError, match="a is named 2 times"):
        Cascade(stages=(Stage(model="a", confidence=0.5), Stage(model="a")))


def test_members_are_named_in_order() -> None:
    assert DesiredComposition(form=Cascade(stages=pair(0.9, None))).models == ("a", "b")
    assert DesiredComposition(form=Ensemble(members=(Member(model="z"), Member(model="a")))).models == ("z", "a")
