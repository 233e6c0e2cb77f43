"""Whether a device has the memory that a version is predicted to take. Pure."""

from shoal_contract.reported import Problem
from shoal_hub.registry.costs import Prediction

_MB = 1_000_000


def no_memory(predicted: Prediction, available_bytes: int | None) -> Problem | None:
    """Return the problem of a device that reported less free memory than a version is predicted to take.

    None where it has as much, or where one of the two is not known. The version before stays loaded until the new one
    serves, so the whole of it has to be free.

    Args:
        predicted: What the version is going to cost the device.
        available_bytes: What the device reported free.
    """
    needed_bytes = predicted.memory_bytes
    if needed_bytes is None or available_bytes is None or needed_bytes <= available_bytes:
        return None
    basis = "where it was compressed"
    if predicted.basis == "same_hardware":
        basis = f"on {predicted.devices} devices of the same hardware"
    return Problem(
        code="no_memory",
        message=(
            f"it reported {available_bytes / _MB:.1f} MB of memory free; "
            f"the version takes {needed_bytes / _MB:.1f} MB, as measured {basis}"
        ),
        remedy="compress the version further, stop something else on the device, or start with on_low_memory warn",
    )
