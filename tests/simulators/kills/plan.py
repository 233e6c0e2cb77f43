"""What happens in one round: rollouts, what an operator does to them, and kills, all from (seed, number). Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HUB_PARTS: Final = ("api", "ingest", "controller", "supervisor", "broker")
VERBS: Final = ("nothing", "pause", "abort", "rollback", "rollback when it has ended", "forward")
"""What is done to a rollout after its start; `pause` goes on again, `forward` is a rollback and then the same again."""

MOMENTS: Final = ("nothing told", "told", "at work", "some done", "going back", "at rest")
"""How far the furthest of a round's rollouts is."""

_START_WITHIN_S: Final = 6.0
_VERB_WITHIN_S: Final = 4.0
_KILLS_WITHIN_S: Final = 10.0
"""Until then something is going on, mostly."""
_KILLS: Final = (5, 9)
"""Fewest and most of a round."""
_AWAITED: Final = ("told", "at work", "going back")
"""What half of the kills wait for: these moments are short."""
_FIRST_WRITES: Final = 24
"""A power cut comes right before one of so many coming writes of a device's disk, or at once."""


@dataclass(frozen=True)
class PlannedRollout:
    """A rollout of one model to some devices; what is done to it follows so long after its start."""

    model: int
    devices: tuple[int, ...]
    waves: tuple[int, ...]
    at_s: float
    verb: str
    verb_after_s: float


@dataclass(frozen=True)
class Kill:
    """One kill, at a moment if it comes soon; after `down_s` comes the start. `device` and `write` are for devices."""

    at_s: float
    part: str
    moment: str
    device: int
    write: int
    down_s: float


@dataclass(frozen=True)
class Round:
    """What happens between two rests."""

    number: int
    rollouts: tuple[PlannedRollout, ...]
    kills: tuple[Kill, ...]


def plan_round(seed: int, number: int, models: int, devices: int, parts: Sequence[str]) -> Round:
    """Return a round; the same seed and number give the same.

    Args:
        seed: Of the whole matrix.
        number: The round in it, from 0.
        models: How many models there are; each is rolled out once.
        devices: How many devices there are.
        parts: What may be killed.
    """
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - has to be the same again, and is no secret
    rollouts = tuple(_rollout(chance, model, devices) for model in range(models))
    kills = tuple(_kill(chance, devices, parts) for _ in range(chance.randint(*_KILLS)))
    return Round(number, rollouts, tuple(sorted(kills, key=lambda one: one.at_s)))


def _rollout(chance: random.Random, model: int, devices: int) -> PlannedRollout:
    chosen = tuple(chance.sample(range(devices), chance.randint((devices + 1) // 2, devices)))
    first = chance.randint(1, len(chosen))
    return PlannedRollout(
        model=model,
        devices=chosen,
        waves=(first,) if first == len(chosen) else (first, len(chosen) - first),
        at_s=chance.uniform(0, _START_WITHIN_S),
        verb=chance.choice(VERBS),
        verb_after_s=chance.uniform(0, _VERB_WITHIN_S),
    )


def _kill(chance: random.Random, devices: int, parts: Sequence[str]) -> Kill:
    return Kill(
        at_s=chance.uniform(0, _KILLS_WITHIN_S),
        part=chance.choice(parts),
        moment=chance.choice((*_AWAITED, *("" for _ in _AWAITED))),
        device=chance.randrange(devices),
        write=chance.choice((0, chance.randint(1, _FIRST_WRITES))),
        down_s=chance.uniform(0, 1),
    )
