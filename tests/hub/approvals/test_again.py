"""A rollout that is started again waits for approvals like another one, and is then what was taken back."""

from datetime import timedelta

from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.approvals.calls import URL, approve, ask_for, roll_out, waits
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import add_device

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.rollouts.joiners import LOOK_EVERY_S
from shoal_hub.rollouts.tables import Deployment


def test_who_had_joined_late_does_so_again_once_it_is_approved(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient
) -> None:
    before = roll_out(author, late_joiners="last_wave").json()
    with hub.database.transaction() as session:
        late = add_device(session).id
    reconcile_rollouts(hub.database, utc_now() + timedelta(seconds=LOOK_EVERY_S))
    author.post(f"{URL}/rollouts/{before['id']}/abort").raise_for_status()
    ask_for(admin, rollout=1)
    asked = waits(author.post(f"{URL}/rollouts/{before['id']}/forward"))
    again = approve(first, asked).json()["outcome"].split()[1]
    with hub.database.session() as session:
        found = session.exec(select(Deployment).where(Deployment.rollout_id == again)).all()
        assert {one.device_id: one.is_late_joiner for one in found} == {
            late: True,
            before["deployments"][0]["device_id"]: False,
        }
