"""The operators of a round: each starts a rollout and does things to it while parts of the hub are being killed.

A call that broke off may have been heard or not: an operator looks before asking again, as a person would.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from tests.simulators.hub_process import HubProcess
from tests.simulators.kills.claims import Book
from tests.simulators.kills.plan import PlannedRollout

from shoal_client import ShoalClient
from shoal_client.errors import ApiError, HubUnreachableError

Answer = TypeVar("Answer")
_ANSWER_S: Final = 180.0
"""A hub starts in ten seconds, but not on a machine that has ten times as much to do as it can."""
_AGAIN_S: Final = 0.2
_CONFLICT: Final = 409
_TIMEOUT_S: Final = 600.0


class Operator:
    """Carries out the rollouts of a round, each in a thread of its own.

    Args:
        hub: The hub.
        models: Names of the models, each with versions 1 and 2.
        devices: Ids of the devices.
        book: Gets what the hub has taken.
    """

    def __init__(self, hub: HubProcess, models: Sequence[str], devices: Sequence[str], book: Book) -> None:
        self._hub = hub
        self._models = models
        self._devices = devices
        self._book = book
        self._latest: dict[str, str] = {}
        self.begun: list[str] = []
        self.done: Counter[str] = Counter()
        """What was done to rollouts, and what came too late."""
        self.problems: list[str] = []
        self._lock = threading.Lock()

    def carry_out(self, rollouts: Sequence[PlannedRollout]) -> list[threading.Thread]:
        """Begin; return the threads in which it happens, one a rollout."""
        self.begun = []
        threads = [
            threading.Thread(target=self._work_off, args=(one,), name=f"operator-{one.model}", daemon=True)
            for one in rollouts
        ]
        for thread in threads:
            thread.start()
        return threads

    def ask(self, call: Callable[[ShoalClient], Answer]) -> Answer:
        """Ask the hub until it answers.

        Raises:
            ApiError: It refuses.
            HubUnreachableError: It has not answered for minutes.
        """
        deadline_s = time.monotonic() + _ANSWER_S
        while True:
            try:
                with self._hub.client() as client:
                    return call(client)
            except HubUnreachableError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(_AGAIN_S)

    def _work_off(self, planned: PlannedRollout) -> None:
        try:
            time.sleep(planned.at_s)
            rollout = self._start(planned)
            time.sleep(planned.verb_after_s)
            self._do(planned.verb, rollout)
        except Exception as error:  # noqa: BLE001 - a thread that ends unheard proves nothing
            self.problems.append(f"operator: {planned.verb}: {type(error).__name__}: {error}")

    def _start(self, planned: PlannedRollout) -> str:
        model, devices = self._models[planned.model], [self._devices[index] for index in planned.devices]
        serving = Counter(self._book.serving.get((device, model), 0) for device in devices)
        version = 1 if serving[2] >= serving[1] and serving[0] < len(devices) else 2

        def start(client: ShoalClient) -> str:
            found = client.rollouts.list(model=model, limit=1)
            if found and found[0].id != self._latest.get(model):
                return found[0].id  # the hub had heard, and was killed before it could say so
            waves = list(planned.waves)
            started = client.rollouts.start(
                model, version, devices=devices, waves=waves, max_failures=len(devices), timeout_s=_TIMEOUT_S
            )
            return started.id

        return self._enter(model, self.ask(start), devices)

    def _enter(self, model: str, rollout: str, devices: Sequence[str]) -> str:
        self._latest[model] = rollout
        self.begun.append(rollout)
        self._book.rollouts[rollout] = frozenset(devices)
        return rollout

    def _do(self, verb: str, rollout: str) -> None:
        match verb:
            case "nothing":
                self._note(verb)
            case "pause":
                self._call(verb, lambda client: client.rollouts.pause(rollout))
                self._call("resume", lambda client: client.rollouts.resume(rollout))
            case "abort":
                self._call(verb, lambda client: client.rollouts.abort(rollout))
            case "rollback":
                self._call(verb, lambda client: client.rollouts.roll_back(rollout))
            case "rollback when it has ended":
                self._wait_for_end(rollout)
                self._call(verb, lambda client: client.rollouts.roll_back(rollout))
            case _:
                self._forward(rollout)

    def _forward(self, rollout: str) -> None:
        """Roll back, and then forward again while devices may still be on their way back."""
        self._call("rollback", lambda client: client.rollouts.roll_back(rollout))
        model = self.ask(lambda client: client.rollouts.show(rollout)).model

        def forward(client: ShoalClient) -> str:
            latest = client.rollouts.list(model=model, limit=1)[0].id
            return latest if latest != rollout else client.rollouts.forward(rollout).id

        self._enter(model, self.ask(forward), sorted(self._book.rollouts[rollout]))
        self._note("forward")

    def _call(self, verb: str, call: Callable[[ShoalClient], object]) -> None:
        """Do something that can come too late, or twice where the first answer was lost."""
        try:
            self.ask(call)
            self._note(verb)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            self._note(f"{verb}, refused")

    def _note(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def _wait_for_end(self, rollout: str) -> None:
        deadline_s = time.monotonic() + _ANSWER_S
        while not self.ask(lambda client: client.rollouts.show(rollout)).has_ended and time.monotonic() < deadline_s:
            time.sleep(_AGAIN_S)
