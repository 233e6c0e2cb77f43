"""What is known when a step of a rollout is taken, besides the attempts at hand: values only."""

from dataclasses import dataclass

from shoal_hub.rollouts.tally import Tally
from shoal_hub.rollouts.views import Facts, GateResult


@dataclass(frozen=True)
class Known:
    """What is known when a step is taken.

    Attributes:
        devices: Of the devices of the attempts at hand, by id.
        tally: Counts of all of the rollout's deployments; None where all of them are at hand.
        gate: What the statistics say of the waves so far; None where the plan has no gate.
        has_more: Whether there are further attempts that may change.
    """

    devices: Facts
    tally: Tally | None = None
    gate: GateResult | None = None
    has_more: bool = False
