"""What the devices that show drift have in common: a group, a tag, a kind of board."""

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_hub.database import in_parts
from shoal_hub.devices.tables import Device
from shoal_hub.drift_history.public import CauseCohort

NAMED: Final = 6
"""Traits that are told, those that tell the two kinds of devices apart best."""
_HARDWARE: Final = ("kind", "model")
Trait = tuple[str, str]


def traits_of(session: Session, device_ids: Iterable[str]) -> dict[str, list[Trait]]:
    """Return what is known of devices: their home, their tags, their board."""
    found: dict[str, list[Trait]] = {}
    columns: list[Any] = [col(Device.id), col(Device.group), col(Device.tags), col(Device.hardware)]
    for part in in_parts(device_ids):
        wanted: Any = select_columns(*columns).where(col(Device.id).in_(part))
        for device_id, group, tags, hardware in session.connection().execute(wanted):
            found[device_id] = list(_traits(group, tags, hardware or {}))
    return found


def common_traits(traits: dict[str, list[Trait]], drifted: AbstractSet[str]) -> list[CauseCohort]:
    """Return the traits that tell devices that show drift from the others, the best first.

    They are ordered by F1 (van Rijsbergen, Information Retrieval, 1979): how many of those with the trait show drift,
    and how many of those that show drift have the trait. What all devices have in common tells nothing.
    """
    of_all = Counter(trait for found in traits.values() for trait in found)
    of_drifted = Counter(trait for device, found in traits.items() if device in drifted for trait in found)
    total = sum(1 for device in traits if device in drifted)
    share = total / max(1, len(traits))

    def f1(trait: Trait) -> float:
        return 2 * of_drifted[trait] / (of_all[trait] + total)

    telling = [trait for trait in of_drifted if of_drifted[trait] / of_all[trait] > share]
    best = sorted(telling, key=lambda trait: (-f1(trait), trait))[:NAMED]
    return [
        CauseCohort(what=what, value=value, devices=of_all[what, value], devices_drifted=of_drifted[what, value])
        for what, value in best
    ]


def _traits(group: str, tags: dict[str, Any], hardware: dict[str, Any]) -> Iterator[Trait]:
    if group:
        yield "group", group
    yield from ((f"tags.{name}", str(value)) for name, value in tags.items() if value not in (None, ""))
    yield from ((f"hardware.{name}", str(hardware[name])) for name in _HARDWARE if hardware.get(name))
