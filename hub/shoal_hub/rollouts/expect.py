"""What each device of a rollout is expected to fetch, kept with its deployment to stand beside what it has fetched."""

from collections.abc import Iterable, Mapping

from sqlmodel import Session

from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_variants
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.selection import Candidate
from shoal_hub.rollouts.variants import choose_target, rank_variants
from shoal_hub.traffic.forecast import Receiver, forecast_bytes


def expected_bytes(
    session: Session,
    version: Version,
    plan: RolloutPlan,
    placed: Iterable[tuple[Candidate, int]],
    *,
    retained_budget_bytes: int | None = None,
) -> Mapping[str, int]:
    """Return the bytes of the model's file that are going to travel to each device, by its id.

    A delta that is still to be made counts as the whole file. A device that takes no variant, or has not said what it
    can run, is left out.

    Args:
        session: An open session.
        version: The version, with its manifest made.
        plan: The rollout's plan, which chooses among the variants.
        placed: The devices, each with its wave.
        retained_budget_bytes: What may stand at the broker; None: all of it.
    """
    ranks = rank_variants(find_variants(session, version), plan)
    receivers = [
        Receiver(one.id, choose_target((one.reported or {}).get("targets", ()), ranks), one.reported or {}, wave)
        for one, wave in placed
    ]
    forecasts = forecast_bytes(session, version, receivers, retained_budget_bytes=retained_budget_bytes)
    return {
        one.device_id: forecast.file_bytes for one, forecast in zip(receivers, forecasts, strict=True) if one.target
    }
