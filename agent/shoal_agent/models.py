"""The models of this device, an updater each: boots what served before, converges, reports and tells of the steps."""

from collections.abc import Callable
from functools import partial
from logging import getLogger
from pathlib import Path

from shoal_agent.errors import AgentError, DiskError
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Converge
from shoal_agent.serving import ServedModel
from shoal_agent.slots import Slot, known_models
from shoal_agent.updater import Updater
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import ModelReport, SectionReport
from shoal_contract.telemetry import DeploymentEvent

_log = getLogger(__name__)


class Models:
    """All models that have, or have had, a role here since the start.

    Args:
        folder: `<data>/models`.
        make_updater: Opens the updater of a model.
        reporter: Takes the sections' reports.
        tell: Queues a step for the hub; raises a DiskError where the disk does not take it.
        known: Names of the models that have roles in a folder.
    """

    def __init__(
        self,
        folder: Path,
        make_updater: Callable[[str], Updater],
        reporter: Reporter,
        tell: Callable[[DeploymentEvent], None],
        known: Callable[[Path], list[str]] = known_models,
    ) -> None:
        self._known = known
        self._folder = folder
        self._make_updater = make_updater
        self._reporter = reporter
        self._tell = tell
        self._updaters: dict[str, Updater] = {}
        self._last_steps: dict[str, tuple[str, str]] = {}

    async def boot(self) -> None:
        """Serve what was served before, with or without a hub."""
        for name in self._known(self._folder):
            try:
                await self._updater(name).boot(partial(self._on_step, name))
            except AgentError as error:
                _log.error("boot: %s", error)
                self._reporter.section(section_of(name), SectionReport(state="failed", problem=error.to_problem()))

    def convergence(self, name: str, wanted: DesiredModel, order: tuple[int, int]) -> Converge:
        """Return what makes `wanted` the version that serves; `order` is the (epoch, generation) that asks for it."""
        return partial(self._updater(name).converge, wanted, order, partial(self._on_step, name))

    def check(self, name: str) -> Converge:
        """Return what tests the version that serves again, and goes back to the one before if it fails."""
        return partial(self._updater(name).check_engine, partial(self._tell_step, name))

    async def load_again(self, name: str) -> None:
        """Load the version of a model that serves by its roles, if it rests on the disk and there is room for it.

        Raises:
            AgentError: It does not load.
        """
        if name in self._updaters:
            await self._updaters[name].load_again()

    async def open_previous(self, name: str) -> ServedModel | None:
        """Load the version before the one that serves, beside it; None where there is none that was good.

        Raises:
            AgentError: It does not load, or there is no room for it.
        """
        return await self._updaters[name].open_previous() if name in self._updaters else None

    def removal(self, name: str) -> Converge:
        """Return what stops serving a model, once the device's owner lets it go."""
        return self._updater(name).take_off

    def held(self) -> set[str]:
        """Names of the models that have a version in a role, or a failure noted."""
        return {name for name, updater in self._updaters.items() if not updater.file.slots.is_empty()}

    def bases(self, name: str) -> list[Slot]:
        """Return the versions of a model that a delta may go from."""
        return self._updaters[name].file.slots.bases() if name in self._updaters else []

    def artifacts(self) -> set[str]:
        """Hashes of the files that the roles need."""
        return {sha256 for updater in self._updaters.values() for sha256 in updater.file.slots.artifacts()}

    def reports(self) -> dict[str, ModelReport]:
        """Return the roles of each model that is held, as the hub sees them."""
        return {name: self._updaters[name].file.slots.to_report() for name in sorted(self.held())}

    def _updater(self, name: str) -> Updater:
        if name not in self._updaters:
            self._updaters[name] = self._make_updater(name)
        return self._updaters[name]

    def _on_step(self, name: str, event: DeploymentEvent) -> None:
        """Tell the hub and report a step of what is wanted."""
        self._tell_step(name, event)
        if event.step not in {"commit", "fail"}:
            report = SectionReport(state="working", step=event.step, deployment=event.deployment)
            self._reporter.section(section_of(name), report)

    def _tell_step(self, name: str, event: DeploymentEvent) -> None:
        """Tell the hub of a step; one that is only tried again is not told twice."""
        step = (event.deployment, event.step)
        if self._last_steps.get(name) != step:
            self._last_steps[name] = step
            try:
                self._tell(event)
            except DiskError as error:  # the reported state still says what is true
                _log.error("a step of %s could not be noted for the hub: %s", name, error)


def section_of(name: str) -> str:
    """Return the key of a model's section in the reported state."""
    return f"models/{name}"
