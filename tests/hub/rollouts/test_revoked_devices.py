"""The decision on a rollout while devices are revoked: nobody waits for them, and they count as no failure."""

from dataclasses import replace

from tests.hub.rollouts.test_advance import Fleet

from shoal_hub.rollouts.revert import is_waiting_to_return


def revoke(fleet: Fleet, index: int) -> None:
    device_id = fleet.attempts[index].device_id
    fleet.facts[device_id] = fleet.facts[device_id]._replace(is_revoked=True)


def test_a_device_that_is_revoked_in_the_middle_is_cancelled_and_counts_as_no_failure() -> None:
    fleet = Fleet([2, 1])
    fleet.step()
    revoke(fleet, 0)
    fleet.report(1, "applied")
    fleet.step()
    assert fleet.states() == ["cancelled", "succeeded", "assigned"]
    assert fleet.intents["device-0"] is None, "nothing is wanted of it any more"
    revoke(fleet, 2)
    fleet.step()
    assert fleet.rollout.state == "succeeded"


def test_a_wave_whose_devices_are_all_revoked_before_it_begins_is_passed_over() -> None:
    fleet = Fleet([1, 1])
    revoke(fleet, 1)
    fleet.step()
    fleet.report(0, "applied")
    fleet.step()
    assert (fleet.rollout.state, fleet.states()) == ("succeeded", ["succeeded", "cancelled"])


def test_a_rollback_waits_for_no_revoked_device_and_lets_go_of_the_artifacts() -> None:
    fleet = Fleet([2])
    fleet.step()
    fleet.report(0, "applied")
    fleet.report(1, "applied")
    fleet.step()
    revoke(fleet, 0)
    fleet.rollout = replace(fleet.rollout, state="rolling_back", ended_at=None)
    fleet.step()
    fleet.report(1, "applied")
    fleet.step()
    assert (fleet.rollout.state, fleet.states()) == ("rolled_back", ["succeeded", "rolled_back"])
    assert not fleet.holds_leases


def test_a_device_that_is_revoked_on_its_way_back_is_waited_for_no_longer() -> None:
    fleet = Fleet([1])
    fleet.step()
    fleet.report(0, "applied")
    fleet.step()
    fleet.rollout = replace(fleet.rollout, state="rolling_back", ended_at=None)
    fleet.step()
    assert is_waiting_to_return(fleet.attempts[0])
    revoke(fleet, 0)
    fleet.step()
    assert fleet.rollout.state == "rolled_back"
    assert fleet.attempts[0].problem is not None
    assert fleet.attempts[0].problem.code == "revoked"
    assert not fleet.holds_leases
