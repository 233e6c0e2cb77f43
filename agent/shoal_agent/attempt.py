"""One attempt at a deployment on its way through `update_states`: where it is, and what the hub is told of it."""

import time
from collections.abc import Callable
from typing import cast

from shoal_agent.update_states import TOLD, Happening, State, next_state
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem
from shoal_contract.telemetry import DeploymentEvent, DeploymentStep, VersionCost
from shoal_contract.update_policy import UpdatePolicy

OnStep = Callable[[DeploymentEvent], None]
_NO_POLICY = UpdatePolicy()


class Attempt:
    """An attempt at one deployment.

    Args:
        name: The model.
        wanted: What the hub asks for.
        order: The (epoch, generation) that asks.
        on_step: Told of each step.
        state: Where it begins.
    """

    def __init__(
        self, name: str, wanted: DesiredModel, order: tuple[int, int], on_step: OnStep, state: State = "begin"
    ) -> None:
        self.wanted = wanted
        self.order = order
        self.policy = wanted.policy or _NO_POLICY
        self.what = f"{name} version {wanted.version}"
        self.state: State = state
        self.fetched_bytes = 0
        self.cost: VersionCost | None = None
        """What the version was found to cost here, until the hub has been told."""
        self._name = name
        self._on_step = on_step
        self._started_s = time.monotonic()

    def on(self, happening: Happening, problem: Problem | None = None) -> None:
        """Go where the table leads, and tell of it."""
        self.state = next_state(self.state, happening)
        if self.state in TOLD:
            self._tell(problem)

    @property
    def activation_left_s(self) -> float:
        """What is left of the time for loading, self-test and probes; set off by `begin_activation`."""
        return max(0.001, self._activate_until_s - time.monotonic())

    def begin_activation(self) -> None:
        """Loading, self-test and probes begin: their time runs from here."""
        self._activate_until_s = time.monotonic() + self.policy.activate_timeout_s

    def put_off(self, by_s: float) -> None:
        """Let what is left of an activation have so much more time: something else has taken it."""
        self._activate_until_s += by_s

    def _tell(self, problem: Problem | None) -> None:
        event = DeploymentEvent(
            model=self._name,
            version=self.wanted.version,
            deployment=self.wanted.deployment,
            step=cast("DeploymentStep", self.state),
            fetched_bytes=self.fetched_bytes,
            duration_s=time.monotonic() - self._started_s,
            cost=self.cost,
            problem=problem,
        )
        self.cost = None
        self._on_step(event)
