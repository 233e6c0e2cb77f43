"""Divides devices into waves. Pure."""

from collections.abc import Sequence

from shoal_hub.errors import InvalidInputError


def plan_waves(devices: int, counts: Sequence[int]) -> list[int]:
    """Return the sizes of the waves over `devices` devices; the remainder joins the last wave.

    Args:
        devices: How many devices there are, at least one.
        counts: Sizes asked for; none stands for one wave of all. Waves beyond the last device are left out.

    Raises:
        InvalidInputError: There is no device, or a wave of less than one.
    """
    if devices < 1:
        raise InvalidInputError("planning a rollout: there is no device", "enrol a device first: shoal tokens create")
    if any(count < 1 for count in counts):
        raise InvalidInputError(
            f"planning a rollout: waves {list(counts)}, each has to have at least one device", "give counts like 1,2,10"
        )
    waves: list[int] = []
    for count in counts:
        room = devices - sum(waves)
        if room == 0:
            break
        waves.append(min(count, room))
    rest = devices - sum(waves)
    if not waves:
        return [rest]
    waves[-1] += rest
    return waves
