"""What the hub's processes count of themselves, for Prometheus: one module, so that nobody counts the same twice.

Where the counts are kept `shoal_hub.counting` decides: in files that the API's process reads, or in memory. Labels come
from closed sets, never from what a device or a caller makes up.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from shoal_hub.counting import PROCESS, end_set_up

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a series began tells a scraper nothing that a fall to zero does not
STANDING: Final = frozenset(
    {"hub-api", "hub-controller", "hub-ingest-control", "hub-ingest-telemetry", "hub-ingest-blobs"}
)
"""The connections to the broker that are kept for as long as the hub runs."""
METERS: Final = CollectorRegistry(auto_describe=True)
_FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

HTTP_REQUESTS: Final = Counter(
    "shoal_http_requests",
    "Requests that the API and the console have answered.",
    ("method", "route", "status"),
    registry=METERS,
)
HTTP_SECONDS: Final = Histogram(
    "shoal_http_request_duration_seconds",
    "From a request's head to the last byte of its answer; of an event stream, to the first.",
    ("method", "route"),
    buckets=_FAST_S,
    registry=METERS,
)
INGEST_MESSAGES: Final = Counter(
    "shoal_ingest_messages", "MQTT messages of devices that the ingest has read.", ("channel",), registry=METERS
)
INGEST_BYTES: Final = Counter(
    "shoal_ingest_bytes", "Payload of the MQTT messages that the ingest has read.", ("channel",), registry=METERS
)
INGEST_DROPPED: Final = Counter(
    "shoal_ingest_messages_dropped",
    "MQTT messages of devices that were not believed: too many of one device, not signed by its key or of no form, of "
    "an unknown or revoked device, on no topic of ours.",
    ("reason",),
    registry=METERS,
)
INGEST_CLEARED: Final = Counter(
    "shoal_ingest_retained_cleared",
    "MQTT messages that devices have left retained where nothing may be; they are cleared at the broker, and read.",
    registry=METERS,
)
INGEST_REFUSED: Final = Counter(
    "shoal_ingest_messages_refused",
    "Signed messages of devices that could not be committed and were passed over.",
    ("kind",),
    registry=METERS,
)
INGEST_COMMIT_SECONDS: Final = Histogram(
    "shoal_ingest_commit_duration_seconds",
    "What the transaction of one batch of messages took.",
    buckets=_FAST_S,
    registry=METERS,
)
INGEST_LAG_SECONDS: Final = Histogram(
    "shoal_ingest_lag_seconds",
    "From the arrival of a batch's oldest message to its acknowledgement.",
    buckets=_SLOW_S,
    registry=METERS,
)
INGEST_WAITING: Final = Gauge(
    "shoal_ingest_waiting_messages",
    "Messages that the ingest has received and not begun to read.",
    multiprocess_mode="livesum",
    registry=METERS,
)
WINDOWS_TAKEN: Final = Counter(
    "shoal_windows_taken", "Windows of telemetry that were merged into what the hub knows.", registry=METERS
)
WINDOWS_QUARANTINED: Final = Counter(
    "shoal_windows_quarantined",
    "Windows of telemetry that were set aside, by the reason that docs/guides/drift.md explains.",
    ("reason",),
    registry=METERS,
)
EVENTS: Final = Counter("shoal_events", "Events that were recorded.", ("kind", "severity"), registry=METERS)
TRANSACTION_SECONDS: Final = Histogram(
    "shoal_database_transaction_duration_seconds",
    "Transactions that write, from the wait for their turn to the commit.",
    ("process",),
    buckets=_FAST_S,
    registry=METERS,
)
TRANSACTION_FAILURES: Final = Counter(
    "shoal_database_transaction_failures",
    "Transactions that write and kept nothing: refused by a rule, or failed.",
    ("process",),
    registry=METERS,
)
BROKER_UP: Final = Gauge(
    "shoal_broker_connection_up",
    "Whether a connection of the hub to the broker stands with all its subscriptions.",
    ("connection",),
    multiprocess_mode="livemax",
    registry=METERS,
)
BROKER_CONNECTIONS: Final = Counter(
    "shoal_broker_connections_made", "Connections to the broker that came about.", ("connection",), registry=METERS
)
CONTROLLER_PASS_SECONDS: Final = Histogram(
    "shoal_controller_pass_duration_seconds",
    "One pass of the controller: a sweep goes through all devices, a tick and a word look at what may have changed.",
    ("kind",),
    buckets=_SLOW_S,
    registry=METERS,
)
CONTROLLER_FAILURES: Final = Counter(
    "shoal_controller_step_failures",
    "Steps of the controller that failed and are tried again.",
    registry=METERS,
)
CONTROLLER_LAST_PASS: Final = Gauge(
    "shoal_controller_last_pass_timestamp_seconds",
    "When the controller in charge last ended a pass, since 1970.",
    multiprocess_mode="livemax",
    registry=METERS,
)
DESIRED_PUBLISHED: Final = Counter(
    "shoal_desired_states_published", "Desired states that the broker has taken.", registry=METERS
)
for _kind in ("sweep", "tick", "word"):
    CONTROLLER_PASS_SECONDS.labels(_kind)
for _reason in ("rate", "invalid", "unknown_device", "topic"):
    INGEST_DROPPED.labels(_reason)
TRANSACTIONS: Final = TRANSACTION_SECONDS.labels(PROCESS)
FAILED_TRANSACTIONS: Final = TRANSACTION_FAILURES.labels(PROCESS)
end_set_up()


def note_connection(name: str, *, is_up: bool) -> None:
    """Tell whether one of the connections stands that the hub keeps; others come and go, and are not told of.

    Args:
        name: Whose it is, like `hub-controller`.
        is_up: Whether it stands.
    """
    if name in STANDING:
        BROKER_UP.labels(name).set(is_up)
        BROKER_CONNECTIONS.labels(name).inc(is_up)
