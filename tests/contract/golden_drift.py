"""A device that may go back by itself where inputs have drifted, and one that has, see `golden_messages`."""

from datetime import timedelta

from tests.contract.golden_enrolment import DEVICE, NOON

from shoal_contract.desired import DesiredConfig, DesiredState, DriftFallBack
from shoal_contract.reported import FallbackReport, ReportedState


def desired_fall_back() -> DesiredState:
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        config=DesiredConfig(drift_fall_back=DriftFallBack(features=3, for_s=7200)),
    )


def fallen_back(base: ReportedState) -> ReportedState:
    """The same report, with what stands in for its first model."""
    name, model = next(iter(base.models.items()))
    standing_in = FallbackReport(version=3, since_at=NOON, features=4)
    return base.model_copy(update={"models": {name: model.model_copy(update={"fallback": standing_in})}})
