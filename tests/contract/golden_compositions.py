"""A desired state with both forms of compositions, see `golden_messages`."""

from datetime import timedelta

from tests.contract.golden_enrolment import DEVICE, NOON

from shoal_contract.compositions import Cascade, DesiredComposition, Ensemble, Member, Stage
from shoal_contract.desired import DesiredState


def desired_compositions() -> DesiredState:
    renamed = Member(model="bearing-b", weight=0.5, inputs={"x": "features"}, outputs={"scores": "probabilities"})
    vote = Ensemble(combine="vote", members=(Member(model="bearing-a", weight=2.0), renamed), output="scores")
    first = Stage(model="small", confidence=0.9, inputs={"image": "x"}, outputs={"classes": "y"})
    cascade = Cascade(stages=(first, Stage(model="large")), output="classes")
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        compositions={
            "bearing": DesiredComposition(form=vote),
            "digits": DesiredComposition(version=3, form=cascade),
        },
    )
