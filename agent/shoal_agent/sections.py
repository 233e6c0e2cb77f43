"""Runs each section of the desired state by itself, so that a failing one never holds up another.

A section is a key such as `models/digits`, a wanted body and a coroutine that converges on it. A new body cancels
the attempt at the old one at once: a rollback does not wait for a transfer.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from logging import getLogger

import anyio
from anyio.abc import TaskGroup

from shoal_agent.encryption_key import OtherRecipientError
from shoal_agent.errors import AgentError, BudgetError, DeploymentFailedError, HeldError, WaitingError
from shoal_agent.reporting import Reporter
from shoal_agent.updater import RETRYABLE
from shoal_contract.reported import SectionReport, SectionState
from shoal_contract.wire import WireValue

_log = getLogger(__name__)
_DEFECT_REMEDY = "this is a defect of the agent: report what its log on the device says"
Converge = Callable[[], Awaitable[str | None]]
"""Makes a wish true; what it returns is the step under which that is reported, if there is more to say."""


class Sections:
    """All sections of this device.

    Args:
        group: Where the attempts run.
        reporter: Takes each section's report.
        retry_min_s: Wait before the second attempt; it doubles from there.
        retry_max_s: Longest wait.
        on_settled: Called whenever no section is on its way any more.
    """

    def __init__(
        self,
        group: TaskGroup,
        reporter: Reporter,
        retry_min_s: float,
        retry_max_s: float,
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._group = group
        self._reporter = reporter
        self._retry_s = (retry_min_s, retry_max_s)
        self._on_settled = on_settled
        self._running: dict[str, tuple[WireValue | None, anyio.CancelScope]] = {}
        self._locks: dict[str, anyio.Lock] = {}
        self._unsettled: Counter[str] = Counter()
        self._intervening: set[str] = set()
        self._again = anyio.Event()

    def want(self, key: str, body: WireValue | None, deployment: str, converge: Converge) -> None:
        """Converge on `body`; an attempt at another body is cancelled, one at the same body goes on.

        Args:
            key: The section, as in the reported state.
            body: What is wanted; None when the section has gone from the desired state.
            deployment: Named in the section's report.
            converge: Makes it true, or raises an AgentError.
        """
        if key in self._running:
            current, scope = self._running[key]
            if current == body:
                return
            scope.cancel()
        scope = anyio.CancelScope()
        self._running[key] = (body, scope)
        self._unsettled[key] += 1
        self._group.start_soon(self._run, key, body, deployment, converge, scope)

    def intervene(self, key: str, action: Converge) -> None:
        """Do something to a section besides converging on its wish.

        It does not wait for what the wish waits for, nor for its transfer: the action itself keeps apart what must not
        happen at once. While it has not ended, another one of the section is left out. If it fails, that is reported,
        unless the wish is on its way: then the section goes on to say how that stands.

        Args:
            key: The section.
            action: Raises an AgentError if the section is worse off than was reported.
        """
        if key not in self._intervening:
            self._intervening.add(key)
            self._group.start_soon(self._intervene, key, action)

    async def _intervene(self, key: str, action: Converge) -> None:
        try:
            await action()
        except AgentError as error:
            _log.error("section %s: %s", key, error)
            self._fail_if_settled(key, error)
        except Exception as error:  # noqa: BLE001 - logged with its traceback and reported, as above
            _log.exception("section %s: a defect of the agent", key)
            self._fail_if_settled(key, AgentError(f"checking {key}: {error!r}", _DEFECT_REMEDY))
        finally:
            self._intervening.discard(key)

    def _fail_if_settled(self, key: str, error: AgentError) -> None:
        if self._unsettled[key]:
            self.retry_now()  # what it waits for may be over, now that another version serves
            self._reporter.touch()
        else:
            self._fail(key, self._deployment(key), error)

    def _lock(self, key: str) -> anyio.Lock:
        return self._locks.setdefault(key, anyio.Lock())

    def _deployment(self, key: str) -> str:
        said = self._reporter.said(key)
        return said.deployment if said else ""

    def retry_now(self) -> None:
        """Try again at once what waits: what it waited for may have come."""
        self._again.set()
        self._again = anyio.Event()

    def keys(self, prefix: str) -> list[str]:
        """Sections under `prefix` that are wanted."""
        return [key for key, (body, _) in self._running.items() if key.startswith(prefix) and body is not None]

    async def _run(
        self, key: str, body: WireValue | None, deployment: str, converge: Converge, scope: anyio.CancelScope
    ) -> None:
        with scope:
            await self._attempts(key, deployment, converge)
        if body is None and self._running.get(key) == (body, scope):
            del self._running[key]
            self._locks.pop(key, None)
            self._reporter.drop_section(key)
        self._unsettled -= Counter([key])
        if not self._unsettled:
            self._on_settled()

    async def _attempts(self, key: str, deployment: str, converge: Converge) -> None:
        begun: SectionReport | None = SectionReport(state="working", deployment=deployment)
        delay_s, ceiling_s = self._retry_s
        while True:
            again = self._again  # from before the attempt: what comes amid it asks for another one
            try:
                async with self._lock(key):  # what ran of the wish before may still be on its way out
                    if begun is not None:  # not before: what ran until now may still report
                        self._reporter.section(key, begun)
                        begun = None
                    step = await converge()
            except WaitingError as error:
                _log.info("section %s: %s", key, error)
                if (report := _waiting(error, deployment)) != self._reporter.said(key):  # it looks again often
                    self._reporter.section(key, report)
                with anyio.move_on_after(error.wait_s):
                    await again.wait()
            except RETRYABLE as error:
                _log.warning("section %s: %s; trying again", key, error)
                is_held = isinstance(error, HeldError | OtherRecipientError | BudgetError)
                state: SectionState = "held" if is_held else "working"
                report = SectionReport(state=state, step="wait", deployment=deployment, problem=error.to_problem())
                self._reporter.section(key, report)
                with anyio.move_on_after(delay_s * random.uniform(0.5, 1.5)):  # noqa: S311 - spreads retries, no secret
                    await again.wait()
                delay_s = min(2 * delay_s, ceiling_s)
            except AgentError as error:
                _log.error("section %s: %s", key, error)
                self._fail(key, deployment, error)
                return
            except Exception as error:  # noqa: BLE001 - logged with its traceback and reported
                # A defect here, but the device's other sections, a rollback among them, must go on.
                _log.exception("section %s: a defect of the agent", key)
                self._fail(key, deployment, AgentError(f"converging on {key}: {error!r}", _DEFECT_REMEDY))
                return
            else:
                self._reporter.section(key, SectionReport(state="applied", step=step or "", deployment=deployment))
                return

    def _fail(self, key: str, deployment: str, error: AgentError) -> None:
        step = error.step if isinstance(error, DeploymentFailedError) else ""
        report = SectionReport(state="failed", step=step, deployment=deployment, problem=error.to_problem())
        self._reporter.section(key, report)


def _waiting(error: WaitingError, deployment: str) -> SectionReport:
    """Say for what a section waits: `held` by a plan or a person, `working` on what has failed and is tried again."""
    state: SectionState = "working" if error.step == "retry" else "held"
    step = "wait" if error.step == "retry" else error.step
    return SectionReport(state=state, step=step, deployment=deployment, problem=error.to_problem())
