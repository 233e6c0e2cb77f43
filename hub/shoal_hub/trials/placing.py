"""Who takes part in a trial, on which side, and who does not, with the reason. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from shoal_contract.reported import ModelReport, Problem
from shoal_contract.split import falls_within
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError
from shoal_hub.registry.costs import memory_of
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.observe import no_encryption_key, no_variant
from shoal_hub.trials.public import TrialRequest
from shoal_hub.trials.tables import TrialArm

_SHOWN = 20
"""Misfits that an error names."""


@dataclass(frozen=True)
class Candidate:
    """What is tried, the version that it is held against, and its variants by target."""

    version: Version
    against: int
    variants: Mapping[str, VariantRow]


@dataclass(frozen=True)
class Placed:
    """A device of a trial. In control, it has no target."""

    device: Device
    arm: TrialArm
    target: str


@dataclass(frozen=True)
class Misfit:
    """A device that takes no part, and why."""

    device_id: str
    problem: Problem


@dataclass(frozen=True)
class Placing:
    """The devices of a trial, those that it does not fit, and the salt by which they are split."""

    placed: list[Placed]
    misfits: list[Misfit]
    salt: str


def place(
    devices: Sequence[Device], request: TrialRequest, candidate: Candidate, pinned: Collection[str], salt: str
) -> Placing:
    """Return who takes part, and whom the trial does not fit.

    Unless it is named, a device that serves another version is neither.

    Args:
        devices: Those that the request is for.
        request: The request.
        candidate: What is tried.
        pinned: Devices that answer by one version alone.
        salt: Of this trial's split.

    Raises:
        ConflictError: Nobody would get the candidate.
    """
    placed: list[Placed] = []
    misfits: list[Misfit] = []
    for device in devices:
        runs = (device.reported or {}).get("targets", ())
        target = next((one for one in runs if one in candidate.variants), "")
        problem = _problem(device, request, candidate, target, is_pinned=device.id in pinned)
        if problem is None:
            arm = _arm(request, salt, device.id)
            placed.append(Placed(device, arm, "" if arm == "control" else target))
        elif request.devices is not None or problem.code != "serves_other":
            misfits.append(Misfit(device.id, problem))
    if not any(one.target for one in placed):
        raise _nobody(request, candidate, len(devices), placed, misfits)
    return Placing(placed, misfits, salt)


def served_version(device: Device, model: str) -> int | None:
    """Return the version that a device says it serves well; None if it serves none."""
    report = (device.reported or {}).get("models", {}).get(model)
    active = ModelReport.model_validate(report).active if report is not None else None
    return active.version if active is not None and active.state == "good" else None


def _problem(
    device: Device, request: TrialRequest, candidate: Candidate, target: str, *, is_pinned: bool
) -> Problem | None:
    """Return why a device can take no part; what does not fit it is not brought to it."""
    if (serves := served_version(device, request.model)) != candidate.against:
        found = f"version {serves}" if serves is not None else "no version that is good"
        message = f"it serves {found}, the trial is against version {candidate.against}"
        return Problem(
            code="serves_other", message=message, remedy="roll that version out to it first, or leave it out"
        )
    if is_pinned:
        message = "it is pinned to a version, which answers alone"
        return Problem(code="pinned", message=message, remedy=f"let it go first: shoal devices unpin {device.id}")
    if not target:
        return no_variant(tuple((device.reported or {}).get("targets", ())), frozenset(candidate.variants))
    if candidate.version.is_encrypted and device.encryption_key is None:
        return no_encryption_key()
    memory_bytes = memory_of(candidate.variants[target].report)
    if memory_bytes is not None and memory_bytes > request.max_memory_bytes:
        allowed = f"the trial allows {request.max_memory_bytes}"
        message = f"the variant for {target} took {memory_bytes} bytes of memory when it was measured, {allowed}"
        return Problem(
            code="no_memory", message=message, remedy="allow the trial more memory, or try a smaller version"
        )
    return None


def _arm(request: TrialRequest, salt: str, device_id: str) -> TrialArm:
    if request.mode == "shadow" or request.split == "key":
        return "both"
    return "candidate" if falls_within(request.share, salt, device_id) else "control"


def _nobody(
    request: TrialRequest, candidate: Candidate, asked: int, placed: Sequence[Placed], misfits: Sequence[Misfit]
) -> ConflictError:
    message = (
        f"starting a trial of {request.model}: {len(placed)} of {asked} devices serve version {candidate.against} and "
        f"run a variant for {', '.join(sorted(candidate.variants))}, and none of them would get the candidate"
    )
    reasons = "; ".join(f"{one.device_id}: {one.problem.message}" for one in misfits[:_SHOWN])
    return ConflictError(
        f"{message}. {reasons}" if reasons else message,
        "compress the version for the devices' targets, name other devices, or give a larger share",
    )
