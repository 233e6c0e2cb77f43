"""What a rollout's gate looks at, and how sure it must be; part of the rollout's plan, fixed when it starts."""

from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_numerics import AlphaBudget, GateMetric
from shoal_numerics.device_comparison import MetricKind
from shoal_numerics.gate_metrics import Worse
from shoal_numerics.sequential import MAX_ALPHA

MetricName = Literal[
    "error_rate", "slow_requests", "p95_latency", "confidence", "drift", "accuracy", "temperature", "memory", "restarts"
]
Undecided = Literal["thresholds", "hold", "abort"]


class _Form(NamedTuple):
    """How a metric is counted, which way it is worse, and the margin where none is given."""

    kind: MetricKind
    worse: Worse
    margin: float
    unit: str


FORMS: Final[dict[MetricName, _Form]] = {
    "error_rate": _Form("share", "higher", 0.02, "of requests"),
    "slow_requests": _Form("share", "higher", 0.05, "of requests over the bound"),
    "p95_latency": _Form("mean", "higher", 20.0, "ms"),
    "confidence": _Form("mean", "either", 0.05, "mean probability"),
    "drift": _Form("mean", "higher", 0.1, "largest Kolmogorov-Smirnov distance of a feature"),
    "accuracy": _Form("share", "lower", 0.02, "of labelled samples"),
    "temperature": _Form("mean", "higher", 5.0, "°C"),
    "memory": _Form("mean", "higher", 100.0, "MB"),
    "restarts": _Form("count", "higher", 1.0, "starts of the agent a day"),
}
VITALS: Final[frozenset[MetricName]] = frozenset({"temperature", "memory", "restarts"})
"""Metrics of the device itself, which heartbeats carry; the others are of the model, and windows carry them."""
_MIN_SAMPLES: Final = {"restarts": 1.0, "temperature": 10.0, "memory": 10.0}


class GateMetricPlan(BaseModel):
    """One metric; what is left out has the metric's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: MetricName
    margin: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """A harm as large as this must be ruled out before the next wave; in the metric's unit."""
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Only a harm above it aborts."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Of the alpha budget, next to the other metrics."""

    @property
    def limit(self) -> float:
        """The margin, stated or by default."""
        return FORMS[self.name].margin if self.margin is None else self.margin

    @model_validator(mode="after")
    def _check_tolerance(self) -> Self:
        if self.tolerance >= self.limit:
            msg = f"{self.name}: the tolerance {self.tolerance:g} has to be below the margin {self.limit:g}"
            raise ValueError(msg)
        return self


class GatePlan(BaseModel):
    """The gate that each wave has to pass; the last one only where devices are held back to compare it with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: Annotated[list[GateMetricPlan], Field(min_length=1, max_length=len(FORMS))] = [
        GateMetricPlan(name="error_rate")
    ]
    alpha: float = Field(default=0.05, gt=0, le=MAX_ALPHA)
    """The probability of any wrong verdict of the whole rollout: all metrics, waves and looks together."""
    latency_bound_ms: float = 128.0
    """What counts as slow; one of the edges of the latency histograms."""
    min_devices: int = Field(default=10, ge=2, le=100_000)
    """Devices with samples on each side that a test needs; on sides that are smaller the hard thresholds decide."""
    min_samples: float = Field(default=100.0, gt=0, le=1e12)
    """Requests on each side that a test needs."""
    max_device_share: float = Field(default=0.2, gt=0, le=1)
    """The largest share of its side that one device may carry."""
    before_s: float = Field(default=86_400.0, ge=0, le=30 * 86_400.0)
    """How far back what devices said before the rollout is compared with."""
    look_s: float = Field(default=60.0, ge=1, le=86_400.0)
    """How often it is looked at."""
    max_hold_s: float = Field(default=86_400.0, ge=0, le=365 * 86_400.0)
    """How long a wave that nothing is shown of is held, after its soak time."""
    undecided: Undecided = "thresholds"
    """What decides then: the margins as hard limits, a person (it stays held), or it is aborted."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.name for one in self.metrics]
        if len(set(names)) != len(names):
            msg = f"metrics: each may be named once, found {names}"
            raise ValueError(msg)
        if self.latency_bound_ms not in LATENCY_EDGES_MS:
            msg = f"latency_bound_ms: {self.latency_bound_ms:g} is no edge, expected one of {LATENCY_EDGES_MS}"
            raise ValueError(msg)
        if self.max_device_share * self.min_devices < 1:
            msg = f"max_device_share: of {self.min_devices} devices one has at least {1 / self.min_devices:.3g}"
            raise ValueError(msg)
        return self

    @property
    def watches_vitals(self) -> bool:
        """Whether a metric is of the devices themselves."""
        return any(one.name in VITALS for one in self.metrics)

    def budget(self, gates: int) -> AlphaBudget:
        """Return the alpha budget over so many gates; at least one."""
        weights = tuple((one.name, one.weight) for one in self.metrics)
        return AlphaBudget(self.alpha, weights, (1.0,) * max(1, gates))

    def metric(self, planned: GateMetricPlan) -> GateMetric:
        """Return a metric as the statistics take it."""
        form = FORMS[planned.name]
        return GateMetric(
            name=planned.name,
            kind=form.kind,
            margin=planned.limit,
            worse=form.worse,
            tolerance=planned.tolerance,
            min_devices=self.min_devices,
            min_samples=_MIN_SAMPLES.get(planned.name, self.min_samples),
            max_device_share=self.max_device_share,
        )
