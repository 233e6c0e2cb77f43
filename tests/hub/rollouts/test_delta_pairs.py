"""Which deltas a rollout asks for, on both engines."""

from collections import Counter
from pathlib import Path

import pytest
from sqlmodel import select, update
from tests.simulators.delta_fleet import SIZE, Fleet, fleet_on_version_1

from shoal_contract.limits import MAX_DELTAS
from shoal_hub.context import HubContext
from shoal_hub.registry.encrypt import mark_encrypted
from shoal_hub.registry.tables import Version
from shoal_hub.rollouts.delta_pairs import most_frequent
from shoal_hub.rollouts.tables import Rollout


@pytest.fixture
def fleet(hub: HubContext, tmp_path: Path) -> Fleet:
    return fleet_on_version_1(hub, tmp_path)


def test_only_what_devices_run_well_and_the_registry_knows_has_deltas(hub: HubContext, tmp_path: Path) -> None:
    fleet = Fleet(hub, tmp_path, count=6)
    good, bad, unproven, unknown, other, fresh = fleet.ids
    fleet.report(good, 1)
    fleet.report(bad, 2, state="bad")
    fleet.report(unproven, 2, state="unproven")
    fleet.report(unknown, 9)
    fleet.report(other, 2, sha256="e" * 64)
    fleet.report(fresh)
    fleet.roll_out(3)
    assert [(one.base_sha256, one.result_sha256) for one in fleet.deltas()] == [(fleet.travels(1), fleet.travels(3))]


def test_what_has_never_been_rolled_out_is_no_base_as_it_may_yet_become_secret(fleet: Fleet) -> None:
    """A device that is not to be trusted says that it runs it: the delta would tell of a file that nobody was sent."""
    fleet.report(fleet.ids[0], 3)
    fleet.roll_out(2)
    assert fleet.deltas() == []
    with fleet.hub.database.transaction() as session:
        version = session.exec(select(Version).where(Version.number == 3)).one()
        mark_encrypted(session, version, by="ada")


def test_to_one_file_the_most_frequent_moves_have_deltas() -> None:
    frequent: Counter[tuple[str, str]] = Counter({(f"base-{number}", "new"): number + 1 for number in range(70)})
    taken = most_frequent(frequent)
    assert len(taken) == MAX_DELTAS
    assert taken == {(f"base-{number}", "new") for number in range(70 - MAX_DELTAS, 70)}


def test_a_version_that_the_new_one_has_replaced_in_production_is_a_base(fleet: Fleet) -> None:
    with fleet.hub.database.transaction() as session:
        session.connection().execute(update(Version).where(Version.number == 1).values(stage="archived"))  # type: ignore[arg-type]
    fleet.roll_out(2)
    assert len(fleet.deltas()) == 1


def test_the_same_file_again_and_a_small_one_have_no_delta(fleet: Fleet) -> None:
    fleet.roll_out(1)
    assert fleet.deltas() == []
    fleet.end()
    rollout_id = fleet.roll_out(2, delta_min_bytes=SIZE + 1)
    assert fleet.deltas() == []
    with fleet.hub.database.session() as session:
        assert session.get_one(Rollout, rollout_id).deltas_until is None
