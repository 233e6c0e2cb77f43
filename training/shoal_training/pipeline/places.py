"""What a pipeline reaches beside itself."""

from collections.abc import Iterator

from shoal_training.evaluation.leave_out_scheme import LeaveOut
from shoal_training.frameworks.network_trainer import NetworkTrainer
from shoal_training.frameworks.networks import Own
from shoal_training.launchers.kubernetes import Kubernetes
from shoal_training.launchers.launcher import Launcher
from shoal_training.launchers.ray import Ray
from shoal_training.launchers.ray_cluster import share_places
from shoal_training.pipeline.definition import Pipeline
from shoal_training.places import Place, places_of_source


def places_of(pipeline: Pipeline) -> tuple[Place, ...]:
    """Return all that a pipeline reaches, other than models at a hub.

    Raises:
        DataError: It has a source of a kind that is not known here.
    """
    return tuple(dict.fromkeys(_places(pipeline)))


def _places(pipeline: Pipeline) -> Iterator[Place]:
    for source in pipeline.data_ingestion.sources:
        yield from places_of_source(source)
    yield from _of_compute(pipeline.model_training.compute)
    evaluation, trainer = pipeline.model_evaluation, pipeline.model_training.trainer
    if isinstance(evaluation.validation_scheme, LeaveOut):
        yield Place("files", evaluation.validation_scheme.path)
    if evaluation.champion is not None and evaluation.champion.bundle:
        yield Place("bundle", evaluation.champion.bundle)
    for metric in evaluation.metrics:
        yield Place("code", metric.function.rpartition(":")[0])
    if isinstance(trainer, NetworkTrainer) and isinstance(trainer.network, Own):
        yield Place("code", trainer.network.file)
    if pipeline.model_training.tuning is not None and pipeline.model_training.tuning.storage:
        yield Place("database", pipeline.model_training.tuning.storage)


def _of_compute(compute: Launcher) -> Iterator[Place]:
    """Yield the cluster: whoever runs it has what is trained on, and what comes back from there is code."""
    if isinstance(compute, Ray):
        yield from share_places(compute)
    if isinstance(compute, Kubernetes):
        yield Place("address", f"kubernetes://{compute.context or 'here'}/{compute.namespace}/{compute.image}")
        yield Place("folder", compute.volume_folder)
