"""A stream file: where events come from, what is computed of them, and where the results go besides.

What is computed are the definitions of `shoal_contract.features`, as in a device's pipelines.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError

from shoal_compression.documents import DocumentError, read_document
from shoal_compression.recipe_errors import first_of
from shoal_compression.values import Value
from shoal_contract.features import MAX_DEFINITIONS, EventForm, FeatureDefinition
from shoal_contract.ids import Name
from shoal_numerics import FeatureError
from shoal_numerics.features import WindowPlan
from shoal_training.errors import PipelineError
from shoal_training.feature_store.event_source import EventResults, EventSource
from shoal_training.feature_store.kafka import KafkaEvents, KafkaResults
from shoal_training.feature_store.mqtt import MqttBroker, MqttEvents, MqttResults
from shoal_training.feature_store.strict import need_known
from shoal_training.kafka import KafkaCluster, KafkaTopic
from shoal_training.named_kinds import by_kind

_TOPIC: Final = r"^[^\x00]{1,512}$"


class EventsKind(Value, ABC):
    """Where events come from. Subclasses name their `kind`, declare fields, and open a source."""

    kind: ClassVar[str]

    @abstractmethod
    def open(self, name: str) -> EventSource:
        """Return the source, which is not started.

        Args:
            name: Of the stream: what the broker remembers it by.
        """


class MqttKind(EventsKind):
    """Messages of an MQTT topic filter."""

    kind: ClassVar[str] = "mqtt"

    broker: MqttBroker = MqttBroker()
    topic: str = Field(pattern=_TOPIC)
    entity_level: int | None = Field(default=None, ge=0, le=63)
    """Which level of the topic names the entity, from 0."""

    def open(self, name: str) -> EventSource:
        """See `EventsKind`."""
        return MqttEvents(self.broker, self.topic, f"shoal-stream-{name}", self.entity_level)


class KafkaKind(EventsKind):
    """Messages of a Kafka topic."""

    kind: ClassVar[str] = "kafka"

    broker: KafkaCluster
    topic: KafkaTopic
    entity_key: bool = False
    """Whether a message's key names the entity."""

    def open(self, name: str) -> EventSource:
        """See `EventsKind`."""
        return KafkaEvents(self.broker, self.topic, f"shoal-stream-{name}", is_keyed=self.entity_key)


EVENTS: Final[dict[str, type[EventsKind]]] = {one.kind: one for one in (MqttKind, KafkaKind)}
AnyEvents = Annotated[SerializeAsAny[EventsKind], BeforeValidator(by_kind("source of events", EVENTS))]


class ResultsKind(Value, ABC):
    """A topic that each result goes to, as a line of JSON. Subclasses name their `kind`, and open it."""

    kind: ClassVar[str]

    @abstractmethod
    def open(self) -> EventResults:
        """Return the topic, which is not connected."""


class MqttOutput(ResultsKind):
    """A topic of MQTT."""

    kind: ClassVar[str] = "mqtt"

    broker: MqttBroker = MqttBroker()
    topic: str = Field(pattern=r"^[^\x00#+]{1,512}$")

    def open(self) -> EventResults:
        """See `ResultsKind`."""
        return MqttResults(self.broker, self.topic)


class KafkaOutput(ResultsKind):
    """A topic of Kafka; a message's key is its entity, so that each entity's results keep their order."""

    kind: ClassVar[str] = "kafka"

    broker: KafkaCluster
    topic: KafkaTopic

    def open(self) -> EventResults:
        """See `ResultsKind`."""
        return KafkaResults(self.broker, self.topic)


RESULTS: Final[dict[str, type[ResultsKind]]] = {one.kind: one for one in (MqttOutput, KafkaOutput)}
AnyOutput = Annotated[SerializeAsAny[ResultsKind], BeforeValidator(by_kind("output", RESULTS, default="mqtt"))]


def _strictly(given: object) -> object:
    """Refuse fields that a definition does not have: the contract's own values pass over them."""
    if not isinstance(given, dict):
        return given
    for name, fields in given.items():
        need_known(fields, FeatureDefinition.model_validate(fields).model_dump(mode="json"), str(name))
    return given


class StreamDefinition(Value):
    """A whole stream file."""

    name: Name
    events: AnyEvents
    form: EventForm = EventForm()
    definitions: Annotated[dict[Name, FeatureDefinition], BeforeValidator(_strictly)] = Field(
        min_length=1, max_length=MAX_DEFINITIONS
    )
    output: AnyOutput | None = None
    keep_days: float = Field(default=30.0, gt=0, le=3660)
    """How long events are kept, for the batch path."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of events that the definitions read."""
        every = {one.field for named in self.definitions.values() for one in named.features.values()}
        return tuple(sorted(name for name in every if name is not None))


def read_stream(path: Path) -> StreamDefinition:
    """Read a stream file, of YAML or JSON.

    Raises:
        PipelineError: It can not be read, or is none; line and field are named.
    """
    try:
        found = read_document(path.read_text(), f"reading {path}", "a stream")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"reading {path}: {error}; name a file of text that holds a stream") from error
    except DocumentError as error:
        where = path if error.line is None else f"{path}, line {error.line}"
        raise PipelineError(f"reading {where}: {error.reason}") from error
    try:
        stream = StreamDefinition.model_validate(found.fields)
    except ValidationError as error:
        place, reason = first_of(error)
        named = ".".join(map(str, place)) or "stream"
        raise PipelineError(f"reading {path}, line {found.line(place)}: {named}: {reason}") from error
    for name, definition in stream.definitions.items():
        try:
            WindowPlan.of(definition)
        except FeatureError as error:
            line = found.line(("definitions", name))
            raise PipelineError(f"reading {path}, line {line}: definitions.{name}: {error}") from error
    return stream
