"""Which of a version's variants a device gets: one of those it can run, by what the rollout's plan prefers."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Protocol

from shoal_hub.errors import InvalidInputError
from shoal_hub.rollouts.request import RolloutPlan


class Measured(Protocol):
    """What a choice is made by: the row of a variant, or the columns of it that this names."""

    @property
    def target(self) -> str:
        """The device class."""

    @property
    def size_bytes(self) -> int:
        """Of the file."""

    @property
    def latency_p50_ms(self) -> float | None:
        """As it was measured; None where it was not."""

    @property
    def accuracy(self) -> float | None:
        """As it was measured, from 0 to 1; None where it was not."""


def rank_variants(variants: Iterable[Measured], plan: RolloutPlan) -> dict[str, float]:
    """Return the targets that a plan allows, each with its rank: the lowest that a device can run is what it gets."""
    return {one.target: _rank(one, plan) for one in variants if not plan.targets or one.target in plan.targets}


def choose_target(runs: Iterable[str], ranks: Mapping[str, float]) -> str:
    """Return the target that a device gets, or an empty string where it can run none.

    Args:
        runs: What the device can run, best first: of several with the same rank it gets the first.
        ranks: See `rank_variants`.
    """
    return min((one for one in runs if one in ranks), key=ranks.__getitem__, default="")


def check_targets(variants: Sequence[Measured], plan: RolloutPlan) -> None:
    """Check that the version has a variant for each target that the plan names.

    Raises:
        InvalidInputError: It has not.
    """
    unknown = sorted(set(plan.targets) - {one.target for one in variants})
    if unknown:
        raise InvalidInputError(
            f"planning a rollout: no variant for {', '.join(unknown)}; there are variants for "
            f"{', '.join(sorted(one.target for one in variants))}",
            "name targets that the version was compressed for, or none",
        )


def _rank(variant: Measured, plan: RolloutPlan) -> float:
    match plan.prefer:
        case "device":
            return 0.0
        case "smallest":
            return variant.size_bytes
        case "fastest":
            return inf if variant.latency_p50_ms is None else variant.latency_p50_ms
        case "most_accurate":
            return inf if variant.accuracy is None else -variant.accuracy
