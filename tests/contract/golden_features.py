"""A desired state with every kind of source, sink, window and aggregate's bounds, see `golden_messages`."""

from datetime import timedelta

from tests.contract.golden_enrolment import DEVICE, NOON

from shoal_contract.desired import DesiredState
from shoal_contract.features import (
    CameraSource,
    CountWindow,
    DesiredFeatures,
    EventForm,
    Feature,
    FeatureDefinition,
    FileSink,
    FileSource,
    HookSink,
    HttpSink,
    HttpSource,
    ModelStep,
    MqttSink,
    MqttSource,
    Pipeline,
    SerialSource,
    SessionWindow,
    TimeWindow,
)


def desired_features() -> DesiredState:
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        features=DesiredFeatures(definitions=_definitions(), pipelines=_pipelines()),
    )


def _definitions() -> dict[str, FeatureDefinition]:
    band = Feature(aggregate="band_power", field="x", low_hz=50.0, high_hz=150.0, ttl_s=60.0, fallback=0.25)
    return {
        "vibration": FeatureDefinition(
            window=TimeWindow(size_ms=1000, every_ms=500, lateness_ms=200),
            features={"hum": band, "rate": Feature(aggregate="rate")},
            sampling_hz=1000.0,
            max_entities=16,
        ),
        "last-ten": FeatureDefinition(
            window=CountWindow(size=10, every=5), features={"mean": Feature(aggregate="mean", field="x")}
        ),
        "visit": FeatureDefinition(
            window=SessionWindow(gap_ms=1_800_000, lateness_ms=60_000), features={"events": Feature(aggregate="events")}
        ),
    }


def _pipelines() -> dict[str, Pipeline]:
    return {
        "pumps": Pipeline(
            source=MqttSource(host="192.168.7.20", port=1884, topic="plant/+/acceleration", qos=1, entity_level=1),
            form=EventForm(
                kind="csv",
                columns=("t", "pump", "x"),
                time_field="t",
                time_unit="ms",
                entity_field="pump",
                entity="pump",
            ),
            definitions=("vibration", "last-ten"),
            model=ModelStep(name="bearing", features=("vibration/hum", "last-ten/mean")),
            sinks=(
                MqttSink(host="192.168.7.20", port=1884, topic="plant/alarms", qos=1, is_retained=True),
                HttpSink(url="http://192.168.7.21:9000/alarms"),
                FileSink(path="alarms.jsonl", max_bytes=1_000_000, kept_files=2),
                HookSink(name="horn"),
            ),
            max_waiting=5000,
        ),
        "log": Pipeline(source=FileSource(path="meter.jsonl", is_read_from_start=True), definitions=("last-ten",)),
        "meter": Pipeline(source=SerialSource(path="/dev/ttyUSB0", baud=115200), definitions=("last-ten",)),
        "pushed": Pipeline(source=HttpSource(), definitions=("last-ten",)),
        "door": Pipeline(
            source=CameraSource(path="/dev/video1", width=320, height=240, frames_per_s=5), definitions=("last-ten",)
        ),
    }
