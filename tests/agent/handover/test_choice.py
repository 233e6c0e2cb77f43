"""Who takes a request: the least loaded that serves the version, and only if it has less to do than this device."""

from shoal_agent.handover.choice import PeerState, Wanted, choose
from shoal_contract.desired import HandoverPeer
from shoal_contract.ids import new_device_id

TINY = Wanted("tiny", 1, "a" * 64)


def peers(count: int) -> list[PeerState]:
    return [PeerState(HandoverPeer(host="10.0.0.1", port=8472, device=new_device_id())) for _ in range(count)]


def chosen(states: list[PeerState], own_load: int = 10, now_s: float = 100.0, wanted: Wanted = TINY) -> int | None:
    found = choose(states, wanted, own_load, now_s, fresh_s=0.5, most_outstanding=4)
    return states.index(found) if found is not None else None


def test_the_least_outstanding_is_chosen() -> None:
    states = peers(3)
    for state, outstanding in zip(states, (3, 1, 2), strict=True):
        state.outstanding = outstanding
    assert chosen(states) == 1


def test_of_equals_the_one_that_was_used_longest_ago_is_chosen() -> None:
    states = peers(3)
    for state, used_at_s in zip(states, (3.0, 1.0, 2.0), strict=True):
        state.used(used_at_s)
    assert chosen(states) == 1


def test_what_a_neighbour_says_of_itself_counts_while_it_is_fresh() -> None:
    states = peers(2)
    states[0].tell(7, now_s=99.8)
    states[1].tell(9, now_s=90.0)
    states[1].outstanding = 1
    assert chosen(states) == 1
    assert chosen(states[:1], own_load=7) is None


def test_nobody_is_chosen_who_has_as_much_to_do_as_this_device() -> None:
    states = peers(2)
    for state in states:
        state.outstanding = 2
    assert chosen(states, own_load=2) is None
    assert chosen(states, own_load=3) == 0


def test_who_rests_lacks_the_version_or_has_enough_from_here_is_passed_over() -> None:
    states = peers(3)
    states[0].rest(101.0)
    states[1].lacks(TINY, 101.0)
    states[2].outstanding = 4
    assert chosen(states) is None
    assert chosen(states, now_s=101.0) == 0
    assert chosen(states, wanted=TINY._replace(manifest_sha256="b" * 64)) == 1


def test_what_is_remembered_of_versions_that_are_not_there_is_bounded() -> None:
    [state] = peers(1)
    for version in range(1, 2000):
        state.lacks(TINY._replace(version=version), 101.0)
    assert len(state._lacks_until_s) <= 256
