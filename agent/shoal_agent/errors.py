"""The agent's errors. Each carries a code and a remedy, so that it can be reported to the hub as a `Problem`."""

from typing import Literal

from shoal_contract.reported import Problem


class AgentError(Exception):
    """Root of the errors that the agent raises.

    Args:
        message: What was being done, what was found, what was expected.
        remedy: What a person should do next.
    """

    code = "agent"
    default_remedy = "look at the agent's log on the device"

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy or self.default_remedy

    def to_problem(self) -> Problem:
        """Return the error as the hub shows it."""
        return Problem(code=self.code, message=str(self)[:1024], remedy=self.remedy[:512])


class DiskError(AgentError):
    """The data folder does not hold what it should."""

    code = "disk"
    default_remedy = "check the data folder's disk and owner, then restart the agent"


class NoRoomError(DiskError):
    """An update would take more of the disk than there is, or than its owner allows. What serves stays."""

    code = "no_room"


class HubError(AgentError):
    """The hub's API refused a request.

    Args:
        message: What was being done, what was found, what was expected.
        remedy: What a person should do next.
        answer: The code that the hub gave its refusal.
    """

    code = "hub"
    default_remedy = "check that the address is a Shoal hub's"

    def __init__(self, message: str, remedy: str | None = None, answer: str = "") -> None:
        super().__init__(message, remedy)
        self.answer = answer


class HubUnreachableError(HubError):
    """No hub answered, or it could not for now. It is worth asking again."""


class HungUpError(HubUnreachableError):
    """The hub has ended a connection that was open for long; what only reads is asked again at once, on a new one."""


class RenewalError(AgentError):
    """The device's certificate could not be renewed yet. It is tried again."""

    code = "renewal"
    default_remedy = "the agent tries again by itself; see docs/guides/identity.md if it lasts"


class EnrolmentError(AgentError):
    """The device could not enrol."""

    code = "enrolment"
    default_remedy = "make a new token with `shoal tokens create` and run `shoal-agent enrol` again"


class TrustError(AgentError):
    """A signed statement was refused. Nothing that runs has changed."""

    code = "trust"
    default_remedy = "nothing on the device changes; find out who published this"


class HeldError(TrustError):
    """What was said can not be believed yet: what would vouch for it is not known. It is checked again."""

    code = "held"
    default_remedy = "the agent refreshes its trust and checks again by itself; nothing on the device changes"


class LinkError(AgentError):
    """The link to the broker is down or did not confirm in time. It is tried again."""

    code = "link"
    default_remedy = "the agent tries again by itself; check the network and the broker if it lasts"


class FetchError(AgentError):
    """An artifact could not be fetched yet. It is tried again."""

    code = "fetch"
    default_remedy = "the agent tries again and asks the hub to publish the artifact again"


class BudgetError(FetchError):
    """The month's byte budget does not allow a transfer. It is held until the next month, or until there is more."""

    code = "budget"
    default_remedy = "the agent goes on by itself next month; sooner with a larger budget: shoal devices limit"


class SiteError(AgentError):
    """The site's cache could not serve, or be asked. What it lacks comes from the broker."""

    code = "site"
    default_remedy = "see docs/guides/site-cache.md; until then devices fetch from the broker"


class ArtifactError(AgentError):
    """An artifact arrived whole but is not what was signed, or can not be used on this device."""

    code = "artifact"
    default_remedy = "register a corrected version and roll it out; the last good version keeps serving"


class WaitingError(AgentError):
    """An update waits: for a time, its owner or another try. Nothing on the device changes meanwhile.

    Args:
        step: What it waits for, as the section's report names it.
        message: What was being done, and why not now.
        wait_s: How long until it is worth looking again.
        remedy: What a person may do.
        cause: The problem that made it wait, where it is no plan; the section is then `working` on it.
    """

    code = "waiting"
    default_remedy = "nothing: the device goes on by itself"

    def __init__(
        self,
        step: Literal["veto", "activate_at", "window", "retry"],
        message: str,
        wait_s: float,
        remedy: str | None = None,
        cause: Problem | None = None,
    ) -> None:
        super().__init__(message, remedy)
        self.step = step
        self.wait_s = wait_s
        self.cause = cause

    def to_problem(self) -> Problem:
        """Return why it waits."""
        return self.cause or super().to_problem()


class ExpiredError(AgentError):
    """A deployment was not done in its time. What serves stays."""

    code = "expired"
    default_remedy = "see what held it up, then roll the version out again, with more time"


class EndedError(ArtifactError):
    """The agent itself ended while a version was tried, too often to be chance."""

    code = "process"


class DeploymentFailedError(AgentError):
    """The deployment has failed for good; the last good version serves.

    Args:
        problem: Why, as it was first noted.
        step: `roll_back` if the version had served already.
    """

    code = "deployment_failed"

    def __init__(self, problem: Problem, step: str = "") -> None:
        super().__init__(problem.message, problem.remedy)
        self.problem = problem
        self.step = step

    def to_problem(self) -> Problem:
        """Return the problem as it was first noted."""
        return self.problem


class TracingError(AgentError):
    """Spans are to be made, and can not be."""

    code = "tracing"
    default_remedy = "run without --otlp-endpoint; the hub's traces go on through this device all the same"


class ProbeSetupError(AgentError):
    """A probe can not be run as it is defined on this device, or is not defined at all."""

    code = "probe_setup"
    default_remedy = "correct the device's probes.toml; see docs/guides/update-policy.md"


class ProbeError(AgentError):
    """A probe of the device's owner did not pass."""

    code = "probe"
    default_remedy = "see what the probe checks: shoal-agent probes run NAME; the last good version keeps serving"


def cause_of(error: Exception) -> Exception:
    """Return the first AgentError in what a task group has wrapped, so that a person reads it; else the error."""
    for inner in getattr(error, "exceptions", ()):
        found = cause_of(inner)
        if isinstance(found, AgentError):
            return found
    return error
