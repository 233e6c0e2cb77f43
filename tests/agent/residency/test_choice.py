"""Who gives way: nobody who is more important or kept, no more than it takes, and never beyond the budget."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.residency import Resident, preview

NAMES = st.sampled_from("abcdefgh")
RESIDENTS = st.builds(
    Resident,
    name=NAMES,
    size_bytes=st.integers(0, 50),
    priority=st.integers(-2, 2),
    used_s=st.integers(0, 5).map(float),
    is_kept=st.booleans(),
)
HELD = st.lists(RESIDENTS, max_size=8, unique_by=lambda one: one.name)


def total(held: list[Resident]) -> int:
    return sum(one.size_bytes for one in held)


@given(HELD, RESIDENTS, st.integers(0, 200))
def test_what_is_loaded_is_within_the_budget_after_a_decision(
    held: list[Resident], comer: Resident, budget: int
) -> None:
    found = preview(held, comer, budget)
    others = [one for one in held if one.name != comer.name]
    stay = [one for one in others if one.name not in found.evicted]
    if found.fits:
        assert total(stay) + comer.size_bytes <= budget
        assert found.free_bytes == budget - total(stay) - comer.size_bytes
    else:
        assert found.evicted == ()


@given(HELD, RESIDENTS, st.integers(0, 200))
def test_nobody_gives_way_who_is_kept_or_more_important_or_before_another_that_would_go_first(
    held: list[Resident], comer: Resident, budget: int
) -> None:
    found = preview(held, comer, budget)
    by_name = {one.name: one for one in held}
    evicted = [by_name[name] for name in found.evicted]
    assert all(not one.is_kept and one.name != comer.name for one in evicted)
    assert all((one.priority, one.used_s) < (comer.priority, comer.used_s) for one in evicted)
    stay = [one for one in held if one.name not in found.evicted and one.name != comer.name]
    may_go = [one for one in stay if not one.is_kept and one.size_bytes > 0]
    for gone in evicted:
        assert all((one.priority, one.used_s) >= (gone.priority, gone.used_s) for one in may_go)


@given(HELD, RESIDENTS, st.integers(0, 200))
def test_no_more_give_way_than_it_takes(held: list[Resident], comer: Resident, budget: int) -> None:
    found = preview(held, comer, budget)
    if found.evicted:
        others = [one for one in held if one.name != comer.name]
        last_stays = [one for one in others if one.name not in found.evicted[:-1]]
        assert total(last_stays) + comer.size_bytes > budget


@given(HELD, RESIDENTS, st.integers(0, 200))
def test_a_comer_is_turned_away_only_if_all_who_may_give_way_are_not_enough(
    held: list[Resident], comer: Resident, budget: int
) -> None:
    rank = (comer.priority, comer.used_s)
    others = [one for one in held if one.name != comer.name]
    firm = [one for one in others if one.is_kept or (one.priority, one.used_s) >= rank]
    assert preview(held, comer, budget).fits == (total(firm) + comer.size_bytes <= budget)


def test_of_equals_the_one_that_was_not_used_for_longest_goes_first() -> None:
    held = [Resident("a", 10, used_s=3), Resident("b", 10, used_s=1), Resident("c", 10, used_s=2)]
    assert preview(held, Resident("d", 15, used_s=9), 30).evicted == ("b", "c")
    assert preview([*held, Resident("low", 10, -1, 8)], Resident("d", 10, used_s=9), 40).evicted == ("low",)


def test_a_version_takes_the_place_of_the_one_before() -> None:
    held = [Resident("a", 20), Resident("b", 10)]
    assert preview(held, Resident("a", 20), 30) == (True, (), 0)
