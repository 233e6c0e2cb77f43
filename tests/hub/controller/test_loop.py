"""The controller's loop over a real broker: nothing that others say or break keeps it from its work unnoticed."""

import threading

import pytest
from tests.simulators.broker import listening
from tests.simulators.hub_threads import Hub

from shoal_hub.devices.revocation import WORD
from shoal_hub.devices.tables import DesiredRow
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
