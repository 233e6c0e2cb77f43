"""Which models give way to one that comes. Pure.

The least important go first, and of equally important ones the one that has not been used for longest. A model gives
way only to one that is more important, or as important and used later; one that its owner keeps loaded never does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Resident:
    """A model in memory, or one that is to come.

    Attributes:
        name: Its name.
        size_bytes: What it was measured to take.
        priority: A higher one is more important.
        used_s: When it was used last, in seconds that never go back; 0: it was not since the start.
        is_kept: Whether the device's owner keeps it loaded.
    """

    name: str
    size_bytes: int
    priority: int = 0
    used_s: float = 0.0
    is_kept: bool = False


class Preview(NamedTuple):
    """What would become of a model that comes.

    Attributes:
        fits: Whether it is loaded.
        evicted: Who gives way to it, in order; nobody, where it is not loaded.
        free_bytes: What is left of the budget then; below 0 where even what stays is more.
    """

    fits: bool
    evicted: tuple[str, ...]
    free_bytes: int


def preview(held: Sequence[Resident], comer: Resident, budget_bytes: int) -> Preview:
    """Return what becomes of a model that comes.

    Args:
        held: What is loaded; of the comer's own name, it is what the comer takes the place of.
        comer: Who comes.
        budget_bytes: What all may take together.
    """
    others = [one for one in held if one.name != comer.name]
    taken_bytes = sum(one.size_bytes for one in others)
    free_bytes = budget_bytes - taken_bytes
    evicted: list[str] = []
    for one in sorted(others, key=lambda one: (one.priority, one.used_s, one.name)):
        if free_bytes >= comer.size_bytes:
            break
        is_first = (one.priority, one.used_s) < (comer.priority, comer.used_s)
        if is_first and not one.is_kept and one.size_bytes > 0:
            evicted.append(one.name)
            free_bytes += one.size_bytes
    if free_bytes >= comer.size_bytes:
        return Preview(fits=True, evicted=tuple(evicted), free_bytes=free_bytes - comer.size_bytes)
    return Preview(fits=False, evicted=(), free_bytes=budget_bytes - taken_bytes)
