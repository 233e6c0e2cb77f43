"""What a rule can look for: a closed set, told apart by `kind`. What each comes to is read in `readings.py`."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal_contract.ids import Name

GroupBy = Literal["model", "version", "group", "feature"]
"""`group` is the devices' group, as they enrolled into one; `feature` an input that drifts."""
MetricName = Literal[
    "accuracy",
    "precision",
    "recall",
    "f1",
    "auc",
    "mae",
    "rmse",
    "estimated_accuracy",
    "p95_latency",
    "error_rate",
]
Seconds = Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)]
_DAY_S: Final = 86_400.0
Groups = Annotated[tuple[GroupBy, ...], Field(max_length=4)]


class _Condition(BaseModel):
    """What all conditions have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DriftCondition(_Condition):
    """Inputs of a version have drifted on some devices."""

    kind: Literal["drift"] = "drift"
    model: Name | None = None
    """Of this one; left out, of each."""
    rule: Literal["plain", "controlled"] | None = "controlled"
    """By which rule; null: by either, a device that both name counts once."""
    min_devices: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    group_by: Groups = ("model", "version")


class MetricCondition(_Condition):
    """A metric over the last stretch of time is beyond its threshold."""

    kind: Literal["metric"] = "metric"
    metric: MetricName
    model: Name | None = None
    """Of this one; left out, of each."""
    threshold: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    """Left out: what is set for the model, or else the metric's own."""
    window_s: Annotated[float, Field(ge=60, le=_DAY_S, allow_inf_nan=False)] = 900.0
    min_samples: Annotated[int, Field(ge=1, le=10**12)] = 100
    """With fewer, nothing is concluded: what fires goes on, what does not does not begin."""
    group_by: Annotated[tuple[Literal["model", "version", "group"], ...], Field(max_length=3)] = ("model", "version")


class OfflineCondition(_Condition):
    """A share or a number of devices is offline; given both, either will do."""

    kind: Literal["devices_offline"] = "devices_offline"
    group: str | None = Field(default=None, max_length=63)
    """Of this device group; left out, of all devices."""
    min_share: Annotated[float, Field(gt=0, le=1)] | None = 0.2
    min_count: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    min_devices: Annotated[int, Field(ge=1, le=10_000_000)] = 5
    """A share of fewer devices than these is not looked at."""
    offline_s: Seconds = 300.0
    """Only who has been away for so long counts."""
    group_by: Annotated[tuple[Literal["group"], ...], Field(max_length=1)] = ()


class RolloutCondition(_Condition):
    """A model's newest rollout is paused, or has ended without success."""

    kind: Literal["rollout"] = "rollout"
    model: Name | None = None
    states: Annotated[tuple[Literal["paused", "failed"], ...], Field(min_length=1, max_length=2)] = ("paused", "failed")
    recent_s: Seconds = _DAY_S
    """An end is told of for so long."""
    group_by: Annotated[tuple[Literal["model"], ...], Field(min_length=1, max_length=1)] = ("model",)


class NoDataCondition(_Condition):
    """No window of a model that was rolled out has come for some time."""

    kind: Literal["no_data"] = "no_data"
    model: Name | None = None
    after_s: Annotated[float, Field(ge=60, le=_DAY_S, allow_inf_nan=False)] = 3600.0
    group_by: Annotated[tuple[Literal["model"], ...], Field(min_length=1, max_length=1)] = ("model",)


Condition = Annotated[
    DriftCondition | MetricCondition | OfflineCondition | RolloutCondition | NoDataCondition,
    Field(discriminator="kind"),
]
