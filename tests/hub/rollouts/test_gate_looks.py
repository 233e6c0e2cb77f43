"""A gate's evidence is read outside of the transaction that acts on it, and counts if nothing has changed since."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import event, text
from sqlmodel import select
from tests.hub.rollouts.test_rollout_routes import URL, Fleet
from tests.hub.rollouts.test_statistical_gate import (
    canaries_of,
    first_wave_serves,
    fleet,
    shown,
    step,
    tell_windows,
)

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.gates.tables import GateLook
from shoal_hub.rollouts.gate import prepare_look
from shoal_hub.rollouts.reconcile import reconcile_rollouts, step_rollout, view_rollout
from shoal_hub.rollouts.tables import Rollout

__all__ = ["fleet"]


@contextmanager
def while_windows_are_read(hub: HubContext, act: Callable[[], object]) -> Iterator[list[int]]:
    """Do something at the moment at which a gate reads its windows; what comes is a list of how often it was."""
    times: list[int] = []

    def before(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "FROM windows" in statement and not times:
            times.append(1)
            act()

    event.listen(hub.database.engine, "before_cursor_execute", before)
    try:
        yield times
    finally:
        event.remove(hub.database.engine, "before_cursor_execute", before)


def both_sides_are_well(hub: HubContext, fleet: Fleet, rollout: str) -> None:
    canaries = canaries_of(hub, rollout)
    controls = sorted(set(fleet.ids) - set(canaries))
    for number in range(6):
        tell_windows(hub, canaries, 2, 0.05, at_s=10 + number, seed=2 + number)
        tell_windows(hub, controls, 1, 0.05, at_s=10 + number, seed=20 + number)


def looks(hub: HubContext, rollout: str) -> list[str]:
    with hub.database.session() as session:
        wanted = select(GateLook).where(GateLook.rollout_id == rollout).order_by(GateLook.id)  # type: ignore[arg-type]
        return [f"{look.wave} {look.verdict}" for look in session.exec(wanted)]


def test_others_write_while_windows_are_read_and_a_look_at_what_was_then_paused_is_dropped(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, _ = first_wave_serves(client, hub, fleet)
    both_sides_are_well(hub, fleet, rollout)

    def pause() -> None:
        with hub.database.transaction() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.connection().execute(text("SET LOCAL lock_timeout = '2s'"))
            row = session.get_one(Rollout, rollout, with_for_update=True)
            row.state = "paused"

    before = looks(hub, rollout)
    with while_windows_are_read(hub, pause) as times:
        reconcile_rollouts(hub.database, utc_now().replace(year=utc_now().year + 1))
    assert times == [1], "they were read"
    assert (looks(hub, rollout), shown(client, rollout)["current_wave"]) == (before, 0)
    client.post(f"{URL}/{rollout}/resume").raise_for_status()
    step(hub, 120)
    assert shown(client, rollout)["current_wave"] == 1, "the next look counts"


def test_a_look_is_taken_up_once(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, _ = first_wave_serves(client, hub, fleet)
    both_sides_are_well(hub, fleet, rollout)
    now = utc_now().replace(year=utc_now().year + 1)
    with hub.database.session() as session:
        row = session.get_one(Rollout, rollout)
        prepared = [prepare_look(session, row, lambda: view_rollout(session, row, now), now) for _ in range(2)]
    for look in prepared:
        with hub.database.transaction() as session:
            step_rollout(session, rollout, now, look=look)
    assert looks(hub, rollout) == ["0 hold", "0 advance"]


def test_a_rollout_s_windows_are_not_read_between_two_looks(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    first_wave_serves(client, hub, fleet)
    with while_windows_are_read(hub, lambda: None) as times:
        reconcile_rollouts(hub.database, utc_now())
    assert times == []
