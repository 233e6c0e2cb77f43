"""Fronts and choices: what holds of any candidates, whatever their figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_compression.errors import SearchError
from shoal_compression.measures import Measures
from shoal_compression.search.candidates import (
    OBJECTIVES,
    Candidate,
    Constraints,
    Objective,
    choose,
    dominates,
    pareto_front,
)

FEW = st.integers(1, 4)


def candidate(name: str, size: int, latency: float | None, drop: float | None) -> Candidate:
    measures = Measures(size_bytes=size, latency_p50_ms=latency)
    return Candidate(name=name, recipe_sha256=name, target="pi4", measures=measures, drop_points=drop)


CANDIDATES = st.lists(
    st.tuples(FEW, st.none() | FEW.map(float), st.none() | FEW.map(float)), min_size=1, max_size=12
).map(lambda figures: [candidate(f"c{place}", *one) for place, one in enumerate(figures)])
WANTED = st.lists(st.sampled_from(OBJECTIVES), min_size=1, unique=True)


@given(CANDIDATES, WANTED)
def test_nothing_on_a_front_is_beaten_and_all_else_is(candidates: list[Candidate], objectives: list[Objective]) -> None:
    front = pareto_front(candidates, objectives)
    assert front
    assert not any(dominates(one, other, objectives) for one in front for other in front)
    for left in (one for one in candidates if one not in front):
        costs = [left.cost(objective) for objective in objectives]
        assert any(
            dominates(one, left, objectives) or [one.cost(objective) for objective in objectives] == costs
            for one in front
        )


@given(CANDIDATES, WANTED)
def test_a_front_is_its_own_front_and_does_not_depend_on_the_order(
    candidates: list[Candidate], objectives: list[Objective]
) -> None:
    front = pareto_front(candidates, objectives)
    assert pareto_front(front, objectives) == front
    turned = pareto_front(candidates[::-1], objectives)
    costs = [{tuple(one.cost(name) for name in objectives) for one in some} for some in (front, turned)]
    assert costs[0] == costs[1]


@given(CANDIDATES, st.sampled_from(OBJECTIVES))
def test_the_best_by_one_figure_is_on_the_front(candidates: list[Candidate], objective: str) -> None:
    best = min(one.cost(objective) for one in candidates)
    assert best in {one.cost(objective) for one in pareto_front(candidates, OBJECTIVES)}


@given(CANDIDATES, st.none() | FEW, st.none() | FEW, st.sampled_from(OBJECTIVES))
def test_a_choice_keeps_what_was_asked_and_none_that_does_is_better(
    candidates: list[Candidate], latency: int | None, drop: int | None, prefer: str
) -> None:
    wanted = Constraints(max_latency_ms=latency, max_drop=drop)

    def keeps(one: Candidate) -> bool:
        return one.cost("latency") <= (latency or math.inf) and one.cost("accuracy") <= (drop or math.inf)

    fitting = [one for one in candidates if keeps(one)]
    if not fitting:
        with pytest.raises(SearchError, match="Nearest"):
            choose(candidates, wanted, prefer)
        return
    chosen = choose(candidates, wanted, prefer)
    assert keeps(chosen)
    assert chosen.cost(prefer) == min(one.cost(prefer) for one in fitting)


def test_a_choice_that_is_impossible_names_the_nearest_with_their_figures() -> None:
    some = [candidate("slow", 1, 9.0, 0.1), candidate("wrong", 1, 2.0, 3.0), candidate("unknown", 1, None, 0.0)]
    with pytest.raises(SearchError) as told:
        choose(some, Constraints(max_latency_ms=8, max_drop=0.5))
    text = str(told.value)
    assert "at most 8 ms, 0.50 points lost: none of 3. Nearest: slow for pi4 with 9 ms, 0.10 points lost; wrong" in text
    assert "latency not measured" in text
    assert text.endswith("allow one of these figures, or search for longer")
