"""The settings of metrics and traces; they are among the hub's."""

from pydantic import BaseModel

from shoal_hub.setting import setting


class ObserveSettings(BaseModel):
    """Where metrics are told, how fresh they are, and where traces go."""

    metrics_address: str = setting(
        "SHOAL_METRICS_ADDRESS",
        "",
        "host:port",
        "Where /metrics is told over plain HTTP to whoever reaches that address, like 127.0.0.1:9464; empty: at the "
        "API alone, to who has a token.",
        pattern=r"^(\[[0-9a-fA-F:.]+\]:[0-9]{1,5}|[^\s:\[\]]+:[0-9]{1,5})?$",
    )
    metrics_fresh_s: float = setting(
        "SHOAL_METRICS_FRESH_S",
        10.0,
        "s",
        "How long at least what the database says of the fleet is told again before it is asked anew; in a large fleet "
        "longer, up to a minute, so that it takes no more than a hundredth of a core.",
        ge=0,
        le=3600,
    )
    metrics_window_s: float = setting(
        "SHOAL_METRICS_WINDOW_S",
        900.0,
        "s",
        "Over which time accuracy, errors and latency of models are told, up to now.",
        ge=60,
        le=86_400,
    )
    metrics_max_versions: int = setting(
        "SHOAL_METRICS_MAX_VERSIONS",
        200,
        "versions",
        "Versions of models at most that metrics are told of one by one: those with the most requests, and the open "
        "rollouts that are the latest.",
        ge=1,
        le=10_000,
    )
    otlp_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "URL",
        "Where traces go, by OTLP over HTTP, like http://collector:4318; empty: none are made. Needs the extra otel; "
        "other variables of OpenTelemetry (OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, …) hold as they are.",
        pattern=r"^(https?://\S+)?$",
    )
    trace_life_s: float = setting(
        "SHOAL_TRACE_LIFE_S",
        86_400.0,
        "s",
        "How long what follows from a request, a job or a rollout belongs to its trace.",
        ge=60,
        le=30 * 86_400.0,
    )
