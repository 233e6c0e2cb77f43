"""Features on the device, as data: how events come, what is computed of them, and where that goes.

Section `features` of the desired state. Nothing here is code: a definition names fields, windows and aggregates of a
closed set. Files, devices and addresses are held by the agent against what the device's owner allows.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from shoal_contract.ids import Host, Name
from shoal_contract.limits import MAX_INTEGER
from shoal_contract.wire import WireValue

MAX_FEATURES: Final = 64
"""Of one definition."""
MAX_DEFINITIONS: Final = 32
MAX_PIPELINES: Final = 16
MAX_ENTITY_CHARS: Final = 128
_FIELD_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$"
_REFERENCE_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}$"
_TOPIC_PATTERN: Final = r"^[^\x00]{1,512}$"
_DAY_MS: Final = 86_400_000
_YEAR_MS: Final = 366 * _DAY_MS

FieldName = Annotated[str, Field(pattern=_FIELD_PATTERN)]
"""Name of a field of an event."""
FeatureReference = Annotated[str, Field(pattern=_REFERENCE_PATTERN)]
"""`<definition>/<feature>`."""
Aggregate = Literal["mean", "std", "min", "max", "last", "events", "rate", "since_last", "band_power"]
"""`std` is of the population; `rate` in events/s; `since_last` in s up to the window's end; the rest in the field's
unit, `band_power` in its square."""


class TimeWindow(WireValue):
    """Windows of `size_ms`, one for each `every_ms`, aligned to the epoch; they tumble where the two are equal."""

    kind: Literal["time"] = "time"
    size_ms: int = Field(ge=1, le=_YEAR_MS)
    every_ms: int = Field(ge=1, le=_YEAR_MS)
    """`size_ms` is a multiple of it."""
    lateness_ms: int = Field(default=0, ge=0, le=_DAY_MS)
    """How long a window waits for events that are behind the latest one of their entity."""


class CountWindow(WireValue):
    """Windows of the last `size` events of an entity, one for each `every` events, in the order in which they came."""

    kind: Literal["count"] = "count"
    size: int = Field(ge=1, le=1_000_000)
    every: int = Field(ge=1, le=1_000_000)
    """`size` is a multiple of it."""


class SessionWindow(WireValue):
    """Windows of events that follow each other sooner than `gap_ms`, from the first one to `gap_ms` after the last."""

    kind: Literal["session"] = "session"
    gap_ms: int = Field(ge=1, le=_DAY_MS)
    lateness_ms: int = Field(default=0, ge=0, le=_DAY_MS)
    """How far an event may be behind the latest one of its entity."""


class Feature(WireValue):
    """One number of a window, and what stands for it while there is none."""

    aggregate: Aggregate
    field: FieldName | None = None
    """What is aggregated; `events`, `rate` and `since_last` are of the events themselves and name none."""
    low_hz: float | None = Field(default=None, ge=0)
    """Of `band_power`: from this frequency on."""
    high_hz: float | None = Field(default=None, gt=0)
    """Of `band_power`: below this frequency."""
    ttl_s: float = Field(default=3600.0, gt=0, le=50 * 366 * 86_400)
    """How old a value may be before the fallback stands for it."""
    fallback: float | None = None


class FeatureDefinition(WireValue):
    """What is computed for each entity: features of one window."""

    window: TimeWindow | CountWindow | SessionWindow = Field(discriminator="kind")
    features: dict[Name, Feature] = Field(min_length=1, max_length=MAX_FEATURES)
    sampling_hz: float | None = Field(default=None, gt=0, le=1_000_000)
    """At which rate events are sampled; `band_power` needs it."""
    max_entities: int = Field(default=1000, ge=1, le=100_000)
    """Entities whose windows are held; one more takes the place of the one that has been silent longest."""


class EventForm(WireValue):
    """How an event is read from a line of text."""

    kind: Literal["json", "csv"] = "json"
    columns: tuple[FieldName, ...] = Field(default=(), max_length=256)
    """The fields of a line of CSV, in order."""
    time_field: FieldName | None = None
    """None: the time at which the event came."""
    time_unit: Literal["s", "ms", "us", "ns"] = "s"
    """Since 1970-01-01 UTC."""
    entity_field: FieldName | None = None
    """None: all events are of `entity`."""
    entity: str = Field(default="device", min_length=1, max_length=MAX_ENTITY_CHARS)


class MqttSource(WireValue):
    """Messages of a topic filter at a broker on this device or its LAN; each payload is one or more lines."""

    kind: Literal["mqtt"] = "mqtt"
    host: Host = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65_535)
    topic: str = Field(pattern=_TOPIC_PATTERN)
    qos: Literal[0, 1] = 0
    entity_level: int | None = Field(default=None, ge=0, le=63)
    """Which level of the topic names the entity, from 0."""


class FileSource(WireValue):
    """Lines that are appended to a file; rotation and truncation are followed."""

    kind: Literal["file"] = "file"
    path: str = Field(min_length=1, max_length=1024)
    """Within a folder that the device's owner allows."""
    is_read_from_start: bool = False
    """Whether lines that stood in the file before the pipeline began count."""


class SerialSource(WireValue):
    """Lines of a serial device."""

    kind: Literal["serial"] = "serial"
    path: str = Field(pattern=r"^/dev/(tty[A-Za-z0-9]{1,32}|serial[0-9]{1,2}|pts/[0-9]{1,5})$")
    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400] = 9600


class HttpSource(WireValue):
    """Events that programs on this device send to `POST /shoal/v1/events/<pipeline>`."""

    kind: Literal["http"] = "http"


class CameraSource(WireValue):
    """Frames of a camera: each is an event with the fields `brightness`, `contrast` and `motion`, from 0 to 1."""

    kind: Literal["camera"] = "camera"
    path: str = Field(default="/dev/video0", pattern=r"^/dev/video[0-9]{1,3}$")
    width: int = Field(default=160, ge=16, le=1920)
    height: int = Field(default=120, ge=16, le=1080)
    frames_per_s: int = Field(default=10, ge=1, le=60)


class MqttSink(WireValue):
    """One message a result, JSON, to a broker on this device or its LAN."""

    kind: Literal["mqtt"] = "mqtt"
    host: Host = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65_535)
    topic: str = Field(pattern=r"^[^\x00#+]{1,512}$")
    qos: Literal[0, 1] = 0
    is_retained: bool = False


class HttpSink(WireValue):
    """Results as lines of JSON in the body of a POST, to this device or its LAN."""

    kind: Literal["http"] = "http"
    url: str = Field(pattern=r"^http://[!-~]{1,1024}$")


class FileSink(WireValue):
    """Results as lines of JSON, appended to a file that begins anew when it has grown."""

    kind: Literal["file"] = "file"
    path: str = Field(min_length=1, max_length=1024)
    """Within a folder that the device's owner allows."""
    max_bytes: int = Field(default=10_000_000, ge=1024, le=MAX_INTEGER)
    kept_files: int = Field(default=3, ge=0, le=99)
    """Former files that stay, as `<path>.1` and so on."""


class HookSink(WireValue):
    """Results as lines of JSON to a command of the device's owner, who alone says what the name stands for."""

    kind: Literal["hook"] = "hook"
    name: Name


class ModelStep(WireValue):
    """A served model that answers for each window of the pipeline's first definition."""

    name: Name
    features: tuple[FeatureReference, ...] = Field(min_length=1, max_length=1024)
    """Its input, element by element; of other definitions the latest values that the device has."""


Source = Annotated[MqttSource | FileSource | SerialSource | HttpSource | CameraSource, Field(discriminator="kind")]
Sink = Annotated[MqttSink | FileSink | HttpSink | HookSink, Field(discriminator="kind")]


class Pipeline(WireValue):
    """Source, windows, features, model, sinks: what one section `features/<name>` runs."""

    source: Source
    form: EventForm = Field(default_factory=EventForm)
    definitions: tuple[Name, ...] = Field(min_length=1, max_length=8)
    model: ModelStep | None = None
    sinks: tuple[Sink, ...] = Field(default=(), max_length=8)
    max_waiting: int = Field(default=10_000, ge=1, le=1_000_000)
    """Messages before the windows, and results before each sink, that may wait; beyond it the oldest are dropped."""


class DesiredFeatures(WireValue):
    """Section `features`: definitions by name, and the pipelines that compute them."""

    definitions: dict[Name, FeatureDefinition] = Field(default_factory=dict, max_length=MAX_DEFINITIONS)
    pipelines: dict[Name, Pipeline] = Field(default_factory=dict, max_length=MAX_PIPELINES)

    def only(self, name: str) -> "DesiredFeatures":
        """Return one pipeline and what it computes; a definition that is not there is left out."""
        pipeline = self.pipelines[name]
        used = [one for one in pipeline.definitions if one in self.definitions]
        definitions = {one: self.definitions[one] for one in used}
        return DesiredFeatures(definitions=definitions, pipelines={name: pipeline})
