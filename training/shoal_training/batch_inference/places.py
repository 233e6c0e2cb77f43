"""What a batch inference reaches beside itself: files, servers, databases, secrets. For who runs those of others."""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from shoal_training.batch_inference.definition import BatchInference
from shoal_training.batch_inference.sinks.duckdb_sink import DuckDbSink
from shoal_training.batch_inference.sinks.files import FileSink
from shoal_training.batch_inference.sinks.http import HttpSink
from shoal_training.batch_inference.sinks.kafka import KafkaSink
from shoal_training.batch_inference.sinks.mqtt import MqttSink
from shoal_training.batch_inference.sinks.sink import Sink
from shoal_training.batch_inference.sinks.sql import SqlSink
from shoal_training.errors import InferenceError
from shoal_training.ingestion.features import FeaturesSource
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.http_api import HttpSource
from shoal_training.ingestion.images import ImageSource
from shoal_training.ingestion.kafka_stream import KafkaSource
from shoal_training.ingestion.mqtt_stream import MqttSource
from shoal_training.ingestion.source import Source
from shoal_training.ingestion.sql import SqlSource

_LOCAL_DATABASES: Final = ("sqlite", "duckdb")


class Place(NamedTuple):
    """Something that is reached.

    Attributes:
        kind: `path`: of a file, folder or pattern on this machine; `address`: a URL of files, or of a server;
            `database`: its URL; `secret`: an environment variable; `option`: of a client, by its name.
        text: It, as the file has it.
    """

    kind: Literal["path", "address", "database", "secret", "option"]
    text: str


def places_of(definition: BatchInference) -> tuple[Place, ...]:
    """Return all that a batch inference reaches, other than models at a hub.

    Raises:
        InferenceError: It has a source or a sink of a kind that is not known here.
    """
    found = [*_of_source(definition.source), *_of_sink(definition.sink)]
    if definition.model.bundle:
        found.append(_files(definition.model.bundle))
    return tuple(dict.fromkeys(found))


def _of_source(source: Source) -> Iterator[Place]:
    match source:
        case FileSource() | ImageSource():
            yield _files(source.path)
        case FeaturesSource():
            for one in (source.labels, *(view.source for view in source.views)):
                yield from _of_source(one)
        case SqlSource() | HttpSource() | KafkaSource() | MqttSource():
            yield from _of_server(source)
        case _:
            raise InferenceError(f"looking at what is read: nothing is known of the source {source.kind}")


def _of_sink(sink: Sink) -> Iterator[Place]:
    match sink:
        case FileSink():
            yield _files(sink.path)
        case DuckDbSink():
            yield Place("database" if ":" in sink.database else "path", sink.database)
        case SqlSink() | HttpSink() | KafkaSink() | MqttSink():
            yield from _of_server(sink)
        case _:
            raise InferenceError(f"looking at what is written: nothing is known of the sink {sink.kind}")


_Server = SqlSource | SqlSink | HttpSource | HttpSink | KafkaSource | KafkaSink | MqttSource | MqttSink


def _of_server(one: _Server) -> Iterator[Place]:
    match one:
        case SqlSource() | SqlSink():
            yield _database(one.url)
        case HttpSource():
            yield Place("address", one.url)
        case HttpSink():
            yield from (Place("address", url) for url in (one.url, one.manifest_url) if url is not None)
        case KafkaSource() | KafkaSink():
            yield from (Place("address", f"kafka://{server.strip()}") for server in one.servers.split(","))
            yield from (Place("option", f"kafka {name}") for name in one.settings)
        case MqttSource() | MqttSink():
            yield Place("address", f"mqtt://{one.host}:{one.port}")
            if one.ca_file not in {None, "system"}:
                yield Place("path", str(one.ca_file))
    variables = one.secret_headers.values() if isinstance(one, HttpSource | HttpSink) else (one.password_env,)
    yield from (Place("secret", variable) for variable in variables if variable is not None)


def _files(path: str) -> Place:
    return Place("address" if "://" in path else "path", path)


def _database(url: str) -> Place:
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] in _LOCAL_DATABASES:
        return Place("path", rest.removeprefix("/").partition("?")[0])
    return Place("database", url)
