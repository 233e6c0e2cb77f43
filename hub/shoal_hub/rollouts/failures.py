"""Of what a deployment failed, by what the device says. Pure."""

from collections.abc import Mapping
from typing import Final

from shoal_contract.reported import Problem
from shoal_hub.rollouts.request import FailureCause

_BY_CODE: Final[Mapping[str, FailureCause]] = {
    "fetch": "fetch",
    "hub": "fetch",
    "hub_unreachable": "fetch",
    "site": "fetch",
    "trust": "fetch",
    "disk": "disk",
    "load": "load",
    "artifact": "load",
    "engine": "load",
    "golden": "self_test",
    "self_test": "self_test",
    "probe": "probe",
    "process": "process",
    "expired": "expired",
    "no_variant": "misfit",
    "no_encryption_key": "misfit",
    "no_memory": "misfit",
    "timed_out": "timed_out",
}
_BY_STEP: Final[Mapping[str, FailureCause]] = {"fetch": "fetch", "verify": "fetch", "stage": "load", "probe": "probe"}


def cause_of(step: str, problem: Problem | None) -> FailureCause:
    """Return the kind of a failure: by the problem's code, or else by the step at which it came."""
    by_step = _BY_STEP.get(step, "other")
    return by_step if problem is None else _BY_CODE.get(problem.code, by_step)
