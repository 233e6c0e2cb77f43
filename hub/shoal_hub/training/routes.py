"""The route that begins a training at the hub; how it goes is its job's and its run's to tell."""

from fastapi import APIRouter

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, ModelOperator, Writing
from shoal_hub.error_response import documented
from shoal_hub.training.request import TrainingPublic, TrainingRequest
from shoal_hub.training.start import start_training

router = APIRouter(prefix="/trainings", tags=["trainings"])


@router.post("", status_code=201, responses=documented(400, 401, 403, 409, 413, 422))
def create_training(body: TrainingRequest, hub: Hub, session: Writing, operator: ModelOperator) -> TrainingPublic:
    """Train a pipeline at the hub: queue the job that runs it, with the files that were sent along."""
    return start_training(session, hub.settings, hub.artifacts, body, by=operator.name, now=utc_now())
