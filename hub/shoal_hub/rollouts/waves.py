"""Divides devices into waves, and chooses at random, by a seed, who comes when and who is held back. Pure."""

import hashlib
import math
from collections.abc import Collection, Sequence
from typing import Final

from shoal_hub.errors import InvalidInputError
from shoal_hub.rollouts.request import MAX_WAVES, ExponentialRate

_WHOLE: Final = 100.0


def plan_waves(
    devices: int, waves: Sequence[int] | Sequence[str] = (), rate: ExponentialRate | None = None
) -> list[int]:
    """Return the sizes of the waves over `devices` devices; the remainder joins the last wave.

    Args:
        devices: How many devices there are, at least one.
        waves: Sizes, or cumulative shares like `5%`; none stands for one wave of all. Waves beyond the last device
            are left out.
        rate: Growing waves instead.

    Raises:
        InvalidInputError: There is no device, a wave of less than one, or shares that do not rise.
    """
    if devices < 1:
        raise InvalidInputError("planning a rollout: there is no device", "enrol a device first: shoal tokens create")
    counts = _growing(devices, rate) if rate is not None else _counts(devices, waves)
    if any(count < 1 for count in counts):
        raise InvalidInputError(
            f"planning a rollout: waves {list(counts)}, each has to have at least one device", "give counts like 1,2,10"
        )
    sizes: list[int] = []
    for count in counts:
        room = devices - sum(sizes)
        if room == 0:
            break
        sizes.append(min(count, room))
    rest = devices - sum(sizes)
    if not sizes:
        return [rest]
    sizes[-1] += rest
    return sizes


def shuffled(device_ids: Collection[str], seed: int) -> list[str]:
    """Return devices in an order that is random, and the same for the same seed whatever order they came in."""
    return sorted(device_ids, key=lambda device_id: _draw("order", seed, device_id))


def choose_held_back(device_ids: Collection[str], percent: float, seed: int) -> frozenset[str]:
    """Return the share of the devices that stays as they are, at random; at least one device is left to go ahead."""
    count = min(round(len(device_ids) * percent / _WHOLE), len(device_ids) - 1)
    if count < 1:
        return frozenset()
    by_chance = sorted(device_ids, key=lambda device_id: _draw("hold back", seed, device_id))
    return frozenset(by_chance[:count])


def _draw(what: str, seed: int, device_id: str) -> bytes:
    return hashlib.sha256(f"{what}/{seed}/{device_id}".encode()).digest()


def _counts(devices: int, waves: Sequence[int] | Sequence[str]) -> list[int]:
    shares = [float(one.removesuffix("%")) for one in waves if isinstance(one, str)]
    if not shares:
        return [one for one in waves if isinstance(one, int)]
    if any(later <= earlier for earlier, later in zip([0.0, *shares], shares, strict=False)) or shares[-1] > _WHOLE:
        raise InvalidInputError(
            f"planning a rollout: waves {', '.join(map(str, waves))}, shares have to rise and end at 100% at most",
            "give cumulative shares like 5%,25%,100%",
        )
    ends = [math.ceil(round(devices * share / _WHOLE, 6)) for share in shares]
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return [size for size in sizes if size > 0]


def _growing(devices: int, rate: ExponentialRate) -> list[int]:
    """Return growing sizes until all devices have a wave; a fleet that needs too many has a large last wave."""
    sizes: list[int] = []
    size = float(rate.first)
    while sum(sizes) < devices and len(sizes) < MAX_WAVES:
        sizes.append(min(round(size), devices))
        size *= rate.factor
    return sizes
