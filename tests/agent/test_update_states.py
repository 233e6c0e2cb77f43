"""The table of a deployment's states: every way through it ends, and none leads past a check."""

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.update_states import SERVES_IT, TOLD, TRANSITIONS, Happening, State, next_state
from shoal_contract.telemetry import DeploymentStep

RESTING = frozenset({"hold", "downloaded", "commit", "fail"})


def walks() -> st.SearchStrategy[list[State]]:
    """Any way through the table from its beginning, to a state without a way on or to twenty states."""

    @st.composite
    def walk(draw: st.DrawFn) -> list[State]:
        states: list[State] = ["begin"]
        while len(states) < 20 and TRANSITIONS[states[-1]]:
            happening = draw(st.sampled_from(sorted(TRANSITIONS[states[-1]])))
            states.append(next_state(states[-1], happening))
        return states

    return walk()


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    reached = {"begin"} | {after for ways in TRANSITIONS.values() for after in ways.values()}
    assert set(TRANSITIONS) == set(get_args(State)) == reached
    assert {happening for ways in TRANSITIONS.values() for happening in ways} == set(get_args(Happening))


def test_the_hub_is_told_of_the_steps_of_the_contract() -> None:
    assert set(get_args(DeploymentStep)) == TOLD


@pytest.mark.parametrize("state", sorted(TRANSITIONS))
def test_from_every_state_an_attempt_can_end(state: State) -> None:
    seen, now = set(), {state}
    while now:
        seen |= now
        now = {after for one in now for after in TRANSITIONS[one].values()} - seen
    assert seen & RESTING


@given(walks())
def test_what_serves_was_staged_and_what_is_undone_is_rolled_back(states: list[State]) -> None:
    for before, after in pairwise(states):
        if after == "activate":
            assert before in {"stage", "begin"}
        if before in SERVES_IT and after not in SERVES_IT:
            assert after in {"roll_back", "hold"}
        if after == "downloaded":
            assert before == "stage"
    assert len(set(states)) == len(states), "no attempt goes in a circle"


@pytest.mark.parametrize(
    ("state", "happening"), [("begin", "done"), ("fail", "go"), ("hold", "go"), ("fetch", "ready")]
)
def test_a_way_that_is_not_in_the_table_is_a_defect(state: State, happening: Happening) -> None:
    with pytest.raises(ValueError, match=f"in the state '{state}'"):
        next_state(state, happening)
