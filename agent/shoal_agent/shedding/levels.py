"""How far to shed by one quantity that is bad when it is high, with hysteresis. Pure."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How far to shed."""

    NONE = 0
    """Every request is worked on."""
    LOWEST = 1
    """Requests to the models of the lowest priority are refused."""
    ALL_BUT_HIGHEST = 2
    """Only requests to the models of the highest priority are worked on."""


@dataclass(frozen=True)
class Band:
    """Where a level begins and ends, in the unit of the quantity.

    Attributes:
        soft: From here on `LOWEST`.
        hard: From here on `ALL_BUT_HIGHEST`.
        hysteresis: So far below where it began a level ends.
    """

    soft: float
    hard: float
    hysteresis: float


def next_level(level: Level, value: float, band: Band) -> Level:
    """Return the level that follows.

    It rises at once, however far. It falls only when the value is below what began it by the hysteresis, so that a
    value that wavers around a limit does not have clients refused and taken in turn.

    Args:
        level: The level until now.
        value: The quantity now.
        band: The limits; `soft <= hard`.
    """
    if value >= band.hard:
        return Level.ALL_BUT_HIGHEST
    if level == Level.ALL_BUT_HIGHEST and value > band.hard - band.hysteresis:
        return level
    if value >= band.soft or (level != Level.NONE and value > band.soft - band.hysteresis):
        return Level.LOWEST
    return Level.NONE
