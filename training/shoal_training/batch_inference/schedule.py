"""When a batch inference runs by itself at a hub: by the clock, as something happens, after another one. Data alone."""

from datetime import datetime, timezone
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from shoal_compression.values import Value
from shoal_contract.ids import Name

_FIELDS: Final = 5
MAX_TRIGGERS: Final = 16


class OnEvent(Value):
    """Something that happens at the hub."""

    kind: Literal["production", "new_version", "new_data"]
    """A version of the model becomes production, or is registered; or the source has changed since the last run."""
    model: Name | None = None
    """Of the first two; the one that is run, without."""
    look_s: float = Field(default=60, ge=5, le=86_400)
    """Between two looks at whether the source has changed."""


class Schedule(Value):
    """All of what is given begins runs; one that is under way is not begun twice."""

    cron: str | None = Field(default=None, max_length=128)
    """Five fields, like `0 3 * * 1` for Mondays at three, in UTC; what a hub missed while it was away comes once."""
    events: tuple[OnEvent, ...] = Field(default=(), max_length=MAX_TRIGGERS)
    after: tuple[Name, ...] = Field(default=(), max_length=MAX_TRIGGERS)
    """Other batch inferences: when each of them has ended well since the last run."""

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, cron: str | None) -> str | None:
        if cron is not None:
            from cronsim import CronSim, CronSimError

            if len(cron.split()) != _FIELDS:
                raise ValueError(f"{cron!r} has another number of fields than the five of cron; write `0 3 * * *`")
            try:
                next(CronSim(cron, datetime(2026, 1, 1, tzinfo=timezone.utc)))
            except (CronSimError, StopIteration) as error:
                raise ValueError(f"{cron!r} is no cron expression: {error!r}; write `0 3 * * *`") from error
        return cron

    @model_validator(mode="after")
    def _check_some(self) -> Self:
        if self.cron is None and not self.events and not self.after:
            raise ValueError("one of `cron`, `events` and `after` is expected; say when it runs, or leave it out")
        return self
