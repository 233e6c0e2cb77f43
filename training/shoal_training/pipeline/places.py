"""What a pipeline reaches beside itself: files, addresses, code, secrets. For whoever runs those of other people."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from shoal_training.errors import PipelineError
from shoal_training.evaluation.leave_out_scheme import LeaveOut
from shoal_training.frameworks.network_trainer import NetworkTrainer
from shoal_training.frameworks.networks import Own
from shoal_training.ingestion import files, images
from shoal_training.ingestion.features import FeaturesSource
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.http_api import HttpSource
from shoal_training.ingestion.images import ImageSource
from shoal_training.ingestion.kafka_stream import KafkaSource
from shoal_training.ingestion.mqtt_stream import MqttSource
from shoal_training.ingestion.source import Source
from shoal_training.ingestion.sql import SqlSource
from shoal_training.pipeline.definition import Pipeline

Kind = Literal["files", "address", "database", "bundle", "code", "secret", "option"]
_ANY: Final = ()


class Place(NamedTuple):
    """Something that a pipeline reaches.

    Attributes:
        kind: `files`: a path, pattern or URL of files; `address`: of a server; `database`: its URL; `bundle`: a folder
            with a model; `code`: a file of Python; `secret`: an environment variable; `option`: of a client, by its
            name.
        text: It, as the pipeline file has it.
        suffixes: Of `files`, the endings that are taken from a folder.
    """

    kind: Kind
    text: str
    suffixes: tuple[str, ...] = _ANY

    @property
    def is_local(self) -> bool:
        """Whether it is a path, and no URL."""
        return self.kind in {"files", "code"} and "://" not in self.text

    @property
    def is_beside(self) -> bool:
        """Whether it is a path that begins where the pipeline file lies."""
        return self.is_local and not Path(self.text).is_absolute()


def places_of(pipeline: Pipeline) -> tuple[Place, ...]:
    """Return all that a pipeline reaches, other than models at a hub.

    Raises:
        PipelineError: It has a source of a kind that is not known here.
    """
    return tuple(dict.fromkeys(_places(pipeline)))


def _places(pipeline: Pipeline) -> Iterator[Place]:
    for source in pipeline.data_ingestion.sources:
        yield from _of_source(source)
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


def _of_source(source: Source) -> Iterator[Place]:
    match source:
        case FileSource():
            yield Place("files", source.path, tuple(files.SUFFIXES))
        case ImageSource():
            yield Place("files", source.path, tuple(images.SUFFIXES))
        case SqlSource():
            yield from _of_database(source)
        case HttpSource():
            yield Place("address", source.url)
            yield from (Place("secret", one) for one in source.secret_headers.values())
        case KafkaSource():
            yield from (Place("address", f"kafka://{one.strip()}") for one in source.servers.split(","))
            yield from (Place("option", f"kafka {name}") for name in source.settings)
            yield from _secrets(source.password_env)
        case MqttSource():
            yield Place("address", f"mqtt://{source.host}:{source.port}")
            yield from _secrets(source.password_env)
            if source.ca_file not in {None, "system"}:
                yield Place("files", str(source.ca_file))
        case FeaturesSource():
            for one in (source.labels, *(view.source for view in source.views)):
                yield from _of_source(one)
        case _:
            raise PipelineError(f"looking at what a pipeline reaches: nothing is known of the source {source.kind}")


def _of_database(source: SqlSource) -> Iterator[Place]:
    scheme, _, path = source.url.partition("://")
    if scheme.partition("+")[0] == "sqlite":
        yield Place("files", path.removeprefix("/").partition("?")[0])
    else:
        yield Place("database", source.url)
    yield from _secrets(source.password_env)


def _secrets(variable: str | None) -> Iterator[Place]:
    if variable is not None:
        yield Place("secret", variable)
