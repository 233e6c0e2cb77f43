"""The controller's loop over a real broker: nothing that others say or break keeps it from its work unnoticed."""

import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from sqlmodel import select
from tests.simulators.broker import listening, running_broker
from tests.simulators.hub_threads import Hub, running_hub
from tests.simulators.rows import add_device

from shoal_hub.controller import loop
from shoal_hub.controller.loop import Controller
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.desired import refresh_desired
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.revocation import WORD
from shoal_hub.devices.tables import DesiredRow
from shoal_hub.processes.controller import build_controller
from shoal_hub.rollouts.reconcile import Pass
from shoal_hub.wake import wake


def test_words_that_never_end_keep_the_controller_from_nothing(hub: Hub) -> None:
    """Any device can have words said, by its events: it must not hold up the rest of the fleet."""
    is_over = threading.Event()

    def make_noise() -> None:
        while not is_over.wait(0.005):
            wake(noisy.connection, frozenset({"noise"}))

    with listening(hub.broker.endpoint("hub-noise")) as noisy:
        noise = threading.Thread(target=make_noise)
        noise.start()
        try:
            device = hub.add_device(is_started=False)
            hub.wait(lambda session: session.get(DesiredRow, device.device_id) is not None, timeout_s=5.0)
        finally:
            is_over.set()
            noise.join()


def test_what_a_word_should_tell_is_looked_for_at_each_tick_while_none_can_come(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(hub.settings.database)
    controller = build_controller(hub.settings, database, hub.addresses, lambda _signed: None)
    controller._sweep_pace.rest(1.0, time.monotonic())

    def looks() -> bool:
        return controller._turn(frozenset(), time.monotonic() - 1.0, is_tick=True).is_check

    assert looks(), "the broker has not answered yet"
    controller._is_told = True
    assert not looks()
    monkeypatch.setattr(controller._runner, "_children", {"job": None})
    assert looks()
    database.close()


def test_a_tick_comes_sooner_while_jobs_are_at_work_as_their_processes_say_no_word(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(hub.settings.database)
    settings = hub.settings.model_copy(update={"tick_s": 30.0})
    controller = build_controller(settings, database, hub.addresses, lambda _signed: None)
    assert controller._until_next_tick_s() == 30.0
    monkeypatch.setattr(controller._runner, "_children", {"job": None})
    assert controller._until_next_tick_s() <= 2.0
    database.close()


def test_a_sweep_has_composed_what_lacks_and_told_again_what_a_device_is_behind_with(hub: Hub) -> None:
    hub.controller.stop()
    database = Database(hub.settings.database)
    controller = build_controller(hub.settings, database, hub.addresses, lambda _signed: None)
    now = utc_now()
    with database.transaction() as session:
        new, behind = (add_device(session, presence="online").id for _ in range(2))
        session.flush()
        refresh_desired(session, hub.director, hub.version_keys, behind, now, timedelta(days=1))
    with database.session() as session:
        assert controller._compare(session, now) == {new}
    controller._mark(lambda session: controller._compare(session, now + timedelta(minutes=1)), now)
    with database.session() as session:
        assert session.exec(select(StaleDesired.device_id)).all() == [new]
    assert list(controller._desired._pending) == [behind]
    database.close()
    hub.start_controller()


def test_gates_that_wait_are_looked_at_without_a_tick_and_desired_states_are_composed_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one look comes to, or the way back of another rollout, is told before the next look, which takes a while."""
    done: list[str] = []
    is_over = threading.Event()

    def look(_database: Database, _now: datetime, *, looks: bool = True) -> Pass:
        done.append("look" if looks else "step")
        if done.count("look") == 3:
            is_over.set()
        return Pass(has_more=looks, has_looks=done.count("look") < 3)

    with running_broker(tmp_path) as broker, running_hub(tmp_path, broker, tick_s=30.0) as hub:
        controller = cast("Controller", hub.controller.worker)
        compose = controller._refresh_desired

        def compose_noted(now: datetime) -> None:
            done.append("compose")
            compose(now)

        monkeypatch.setattr(controller, "_refresh_desired", compose_noted)
        monkeypatch.setattr(loop, "pass_rollouts", look)
        controller.wake(frozenset({"rollouts"}))
        assert is_over.wait(10.0)
    looks = [one for one in done if one != "step"]
    assert looks[looks.index("look") :][:5] == ["look", "compose", "look", "compose", "look"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_controller_whose_revocations_are_followed_no_more_ends(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its supervisor starts it again; else a stolen device would stay connected, and nobody would know."""
    revocations = hub.controller.worker._revocations  # type: ignore[union-attr]  # it is the controller
    monkeypatch.setattr(revocations, "step", _broken)
    revocations.hear(frozenset({WORD}))
    hub.controller._thread.join(5.0)
    assert not hub.controller._thread.is_alive()


def _broken() -> None:
    raise RuntimeError("an error that nobody has thought of")
