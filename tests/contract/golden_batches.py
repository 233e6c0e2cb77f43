"""A batch job that a hub hands out, and how it ended on a device, see `golden_messages`."""

from datetime import timedelta

from tests.contract.golden_enrolment import DEVICE, NOON

from shoal_contract.batch_jobs import BatchResult, DesiredBatch
from shoal_contract.desired import DesiredState
from shoal_contract.reported import Problem
from shoal_contract.update_policy import MaintenanceWindow


def desired_batches() -> DesiredState:
    batch = DesiredBatch(
        model="digits",
        version=3,
        input="readings/*.parquet",
        form="parquet",
        keep=("id",),
        max_load=0.25,
        windows=(MaintenanceWindow(start="01:00", minutes=240),),
        deadline_at=NOON + timedelta(days=2),
        max_result_bytes=5_000_000,
    )
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        batches={"march": batch},
    )


def batch_result(problem: Problem) -> BatchResult:
    return BatchResult(
        batch="march",
        outcome="failed",
        version=3,
        answered=1200,
        rejected=3,
        duration_s=61.5,
        result_bytes=48_000,
        result_sha256="6" * 64,
        problem=problem,
    )
