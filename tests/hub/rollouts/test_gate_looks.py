"""A gate's evidence is read outside of the transaction that acts on it, and counts if nothing has changed since."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import event, text
from sqlmodel import col, select, update
from tests.hub.rollouts.test_rollout_routes import TARGET, URL, Fleet
from tests.hub.rollouts.test_statistical_gate import (
    GATE,
    canaries_of,
    first_wave_serves,
    fleet,
    shown,
    step,
    tell_windows,
)
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import add_version

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.gates.tables import GateLook
from shoal_hub.rollouts.gate import prepare_look
from shoal_hub.rollouts.reconcile import pass_rollouts, step_rollout, view_rollout
from shoal_hub.rollouts.tables import Deployment, Rollout

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


def start_another(client: TestClient, hub: HubContext, fleet: Fleet, **plan: Any) -> str:
    """Start a rollout of another model."""
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 1, {TARGET: b"letters"}, "letters")
    body = {"model": "letters", "version": "1", "devices": fleet.ids} | plan
    answer = client.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def states(hub: HubContext, rollout: str) -> set[str]:
    with hub.database.session() as session:
        return set(session.exec(select(Deployment.state).where(Deployment.rollout_id == rollout)))


def test_no_rollout_waits_for_the_look_at_another_s_gate(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    """The look of a large fleet takes a while, and the one that waits may have to go back."""
    both_sides_are_well(hub, fleet, first_wave_serves(client, hub, fleet)[0])
    another, seen = start_another(client, hub, fleet), set[str]()
    with while_windows_are_read(hub, lambda: seen.update(states(hub, another))) as times:
        reconcile_rollouts(hub.database, utc_now().replace(year=utc_now().year + 1))
    assert (times, seen) == ([1], {"assigned"})


def test_one_gate_is_looked_at_in_a_pass_and_the_one_that_waits_for_the_longest_is_the_next(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    first, canaries = first_wave_serves(client, hub, fleet)
    second = start_another(client, hub, fleet, waves=[12, 1], gate=GATE)
    with hub.database.transaction() as session:
        session.connection().execute(
            update(Deployment)
            .where(col(Deployment.rollout_id) == second, col(Deployment.wave) == 0)
            .values(state="succeeded")
        )
    later = utc_now().replace(year=utc_now().year + 1)
    looked = []
    for _ in range(3):
        with hub.database.session() as session:
            before = {row.rollout_id: row.at for row in session.exec(select(GateLook))}
        found = pass_rollouts(hub.database, later)
        with hub.database.session() as session:
            at = {row.rollout_id: row.at for row in session.exec(select(GateLook))}
        looked.append(({one for one in at if before.get(one) != at[one]}, found.has_looks))
    assert looked == [({second}, True), ({first}, False), (set(), False)]
    assert canaries
