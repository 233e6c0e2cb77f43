"""Which limits hold on a board, how strained it is, and which models pay for it. Pure but for the board's files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from shoal_agent.board import throttling_begins_c
from shoal_agent.settings import SheddingSettings
from shoal_agent.shedding.levels import Band, Level, next_level
from shoal_contract.reported import Hardware

Reason = Literal["hot", "memory"]
_PI_SOFT_C: Final = 80.0
_PI_HARD_C: Final = 85.0
"""Raspberry Pi documentation, "Frequency management and thermal control": between 80 and 85 °C the firmware slows the
processor down step by step, at 85 °C the graphics processor as well."""
_AHEAD_C: Final = 5.0
"""So much before the kernel of another board slows it down its soft limit is."""


@dataclass(frozen=True)
class Limits:
    """Where shedding begins and ends.

    Attributes:
        heat: In °C; None: temperature sheds nothing.
        memory: Of the share of the memory that is taken, 0 to 1.
    """

    heat: Band | None
    memory: Band


def limits_for(settings: SheddingSettings, hardware: Hardware, root: Path = Path("/")) -> Limits:
    """Return the limits of a board.

    Of the heat they are the owner's. Where the owner names none, a Raspberry Pi's are those of its firmware, and
    another board's follow its kernel's passive trip points; a board that has none sheds nothing by its temperature, as
    nobody can say what is hot for it.

    Args:
        settings: What the owner says.
        hardware: The board.
        root: Where `sys` is looked for.
    """
    known = (_PI_SOFT_C, _PI_HARD_C) if hardware.kind == "raspberry-pi" else _of_kernel(root)
    soft_c = settings.soft_c or (known[0] if known else None)
    hard_c = settings.hard_c or (known[1] if known else None)
    taken = Band(1 - settings.soft_free_ratio, 1 - settings.hard_free_ratio, settings.free_hysteresis_ratio)
    if soft_c is None and hard_c is None:
        return Limits(None, taken)
    soft_c, hard_c = soft_c or hard_c or 0.0, hard_c or soft_c or 0.0
    return Limits(Band(min(soft_c, hard_c), hard_c, settings.hysteresis_c), taken)


@dataclass(frozen=True)
class Strain:
    """How far each quantity has the device shed."""

    heat: Level = Level.NONE
    memory: Level = Level.NONE

    @property
    def level(self) -> Level:
        """The higher of the two."""
        return max(self.heat, self.memory)

    @property
    def reason(self) -> Reason:
        """What asks for most; heat, if both ask for the same."""
        return "hot" if self.heat >= self.memory else "memory"

    def after(self, celsius: float | None, taken_ratio: float | None, limits: Limits) -> "Strain":
        """Return the strain that follows.

        Args:
            celsius: The hottest part; None where no sensor tells.
            taken_ratio: Of the memory, 0 to 1; None where the kernel does not tell.
            limits: The board's.
        """
        heat = memory = Level.NONE
        if celsius is not None and limits.heat is not None:
            heat = next_level(self.heat, celsius, limits.heat)
        if taken_ratio is not None:
            memory = next_level(self.memory, taken_ratio, limits.memory)
        return Strain(heat, memory)


def shed_models(level: Level, priorities: Mapping[str, int]) -> frozenset[str]:
    """Return the models whose requests are refused; the highest priority is always served.

    Where all have the same priority, none is less important than another, and nothing is refused.

    Args:
        level: How far to shed.
        priorities: Of each model that is served; a higher one is more important.
    """
    ranks = sorted(set(priorities.values()))
    if level == Level.NONE or len(ranks) <= 1:
        return frozenset()
    least_kept = ranks[1] if level == Level.LOWEST else ranks[-1]
    return frozenset(name for name, priority in priorities.items() if priority < least_kept)


def _of_kernel(root: Path) -> tuple[float, float] | None:
    begins_c = throttling_begins_c(root)
    return (begins_c - _AHEAD_C, begins_c) if begins_c is not None else None
