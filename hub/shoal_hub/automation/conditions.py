"""The *when* of a policy: a closed set, told apart by `kind`. What each comes to is decided in `decide.py`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

_DAY_S: Final = 86_400.0
_YEAR_S: Final = 365 * _DAY_S
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Samples = Annotated[int, Field(ge=1, le=10**12)]
Devices = Annotated[int, Field(ge=1, le=10_000_000)]


class _Condition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DriftWhen(_Condition):
    """The inputs of the version that serves have drifted on enough devices."""

    kind: Literal["drift"] = "drift"
    rule: Literal["plain", "controlled", "any"] = "controlled"
    """By which rule of the drift guide; `any`: a device that either names counts."""
    min_devices: Devices = 1
    min_share: Ratio = 0.0
    """Of the devices that serve the model, besides `min_devices`."""
    for_s: Annotated[float, Field(ge=0, le=30 * _DAY_S, allow_inf_nan=False)] = 0.0
    """The signal has to be this old."""


class AccuracyWhen(_Condition):
    """True labels that came back say that the version that serves is right too seldom."""

    kind: Literal["accuracy_drop"] = "accuracy_drop"
    below: Ratio | None = None
    """Below this accuracy, 0 to 1."""
    drop: Ratio | None = None
    """Or so far below the accuracy that the version had on its held-out samples when it was registered."""
    over_s: Annotated[float, Field(ge=60, le=_DAY_S, allow_inf_nan=False)] = 3600.0
    """Over the labels of the last stretch of time."""
    min_labels: Samples = 100
    """With fewer nothing is concluded."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.below is None and self.drop is None:
            msg = "accuracy_drop: give `below`, `drop`, or both, of which either will do"
            raise ValueError(msg)
        return self


class VolumeWhen(_Condition):
    """So many captured samples have come since the newest version was registered, or since the policy last ran."""

    kind: Literal["data_volume"] = "data_volume"
    min_samples: Samples


class LabelsWhen(_Condition):
    """So many labels have come back since the newest version was registered, or since the policy last ran."""

    kind: Literal["new_labels"] = "new_labels"
    min_labels: Samples


class ScheduleWhen(_Condition):
    """It is time, by a cron expression in UTC or after an interval; what a hub missed while it was away comes once."""

    kind: Literal["schedule"] = "schedule"
    cron: Annotated[str, Field(max_length=128)] | None = None
    """Five fields, like `0 3 * * 1` for Mondays at three."""
    every_s: Annotated[float, Field(ge=60, le=_YEAR_S, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.cron is None) == (self.every_s is None):
            msg = "schedule: give either `cron` or `every_s`"
            raise ValueError(msg)
        if self.cron is not None:
            if len(self.cron.split()) != 5:  # noqa: PLR2004 - the fields of cron
                msg = f"schedule: {self.cron!r} has another number of fields than the five of cron"
                raise ValueError(msg)
            try:
                next(CronSim(self.cron, datetime(2026, 1, 1, tzinfo=UTC)))
            except (CronSimError, StopIteration) as error:
                msg = f"schedule: {self.cron!r} is no cron expression: {error!r}"
                raise ValueError(msg) from error
        return self

    def next_after(self, since: datetime) -> datetime:
        """Return when it is time for the first time after `since`."""
        if self.cron is not None:
            return next(CronSim(self.cron, since.astimezone(UTC)))
        return since + timedelta(seconds=self.every_s or 0.0)


Condition = Annotated[
    DriftWhen | AccuracyWhen | VolumeWhen | LabelsWhen | ScheduleWhen,
    Field(discriminator="kind"),
]
