"""The kinds of sources by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.ingestion.features import FeaturesSource
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.http_api import HttpSource
from shoal_training.ingestion.images import ImageSource
from shoal_training.ingestion.kafka_stream import KafkaSource
from shoal_training.ingestion.mqtt_stream import MqttSource
from shoal_training.ingestion.source import Source
from shoal_training.ingestion.sql import SqlSource
from shoal_training.named_kinds import by_kind

BY_KIND: Final[dict[str, type[Source]]] = {
    one.kind: one for one in (FileSource, ImageSource, SqlSource, HttpSource, MqttSource, KafkaSource, FeaturesSource)
}

AnySource = Annotated[SerializeAsAny[Source], BeforeValidator(by_kind("source", BY_KIND, default="files"))]
"""A source with its fields; in a file a mapping whose `kind` names it, `files` without."""
