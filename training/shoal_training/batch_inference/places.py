"""What a batch inference reaches beside itself."""

from collections.abc import Iterator

from shoal_training.batch_inference.definition import BatchInference
from shoal_training.batch_inference.engines.ray_tasks import RayEngine
from shoal_training.batch_inference.sinks.duckdb_sink import DuckDbSink
from shoal_training.batch_inference.sinks.files import FileSink
from shoal_training.batch_inference.sinks.http import HttpSink
from shoal_training.batch_inference.sinks.kafka import KafkaSink
from shoal_training.batch_inference.sinks.mqtt import MqttSink
from shoal_training.batch_inference.sinks.sink import Sink
from shoal_training.batch_inference.sinks.sql import SqlSink
from shoal_training.errors import InferenceError
from shoal_training.launchers.ray_cluster import share_places
from shoal_training.places import Place, database_place, kafka_places, mqtt_places, places_of_source, secret_places


def places_of(definition: BatchInference) -> tuple[Place, ...]:
    """Return all that a batch inference reaches, other than models at a hub.

    Raises:
        DataError: It has a source of a kind that is not known here.
        InferenceError: So it is with its sink.
    """
    bundle = [Place("bundle", definition.model.bundle)] if definition.model.bundle else []
    cluster = share_places(definition.engine) if isinstance(definition.engine, RayEngine) else ()
    return tuple(dict.fromkeys([*places_of_source(definition.source), *_of_sink(definition.sink), *bundle, *cluster]))


def _of_sink(sink: Sink) -> Iterator[Place]:
    match sink:
        case FileSink():
            yield Place("files", sink.path)
        case DuckDbSink():
            yield Place("database" if ":" in sink.database else "files", sink.database)
        case SqlSink():
            yield database_place(sink.url)
            yield from secret_places([sink.password_env])
        case HttpSink():
            yield from (Place("address", url) for url in (sink.url, sink.manifest_url) if url is not None)
            yield from secret_places(sink.secret_headers.values())
        case KafkaSink():
            yield from kafka_places(sink.servers, sink.settings, sink.password_env)
        case MqttSink():
            yield from mqtt_places(sink.host, sink.port, sink.ca_file, sink.password_env)
        case _:
            raise InferenceError(f"looking at what is written: nothing is known of the sink {sink.kind}")
