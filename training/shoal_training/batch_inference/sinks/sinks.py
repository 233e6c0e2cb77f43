"""The sinks by the name that a file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.batch_inference.sinks.duckdb_sink import DuckDbSink
from shoal_training.batch_inference.sinks.files import FileSink
from shoal_training.batch_inference.sinks.http import HttpSink
from shoal_training.batch_inference.sinks.kafka import KafkaSink
from shoal_training.batch_inference.sinks.mqtt import MqttSink
from shoal_training.batch_inference.sinks.sink import Sink
from shoal_training.batch_inference.sinks.sql import SqlSink
from shoal_training.named_kinds import by_kind

BY_KIND: Final[dict[str, type[Sink]]] = {
    one.kind: one for one in (FileSink, SqlSink, DuckDbSink, MqttSink, KafkaSink, HttpSink)
}

AnySink = Annotated[SerializeAsAny[Sink], BeforeValidator(by_kind("sink", BY_KIND, default="files"))]
"""A sink with its fields; in a file a mapping whose `kind` names it, `files` without."""
