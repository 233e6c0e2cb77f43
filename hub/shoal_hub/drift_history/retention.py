"""How long hours and days are kept, by whose they are."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shoal_hub.drift_history.periods import LENGTH
from shoal_hub.drift_history.settings import HistorySettings
from shoal_hub.drift_history.tables import Scope, Span


@dataclass(frozen=True)
class Retention:
    """How long what windows come to is kept, after its hour or day has ended.

    Attributes:
        hours: Of all scopes.
        device_days: Whole counts of a device's day.
        days: Whole counts of the fleet and its cohorts, and the scores of devices' days.
    """

    hours: timedelta
    device_days: timedelta
    days: timedelta

    @classmethod
    def of(cls, settings: HistorySettings) -> "Retention":
        """Return what the settings say."""
        return cls(
            timedelta(seconds=settings.drift_hours_retention_s),
            timedelta(seconds=settings.drift_device_counts_retention_s),
            timedelta(seconds=settings.drift_days_retention_s),
        )

    def oldest(self, span: Span, scope: Scope, now: datetime) -> datetime:
        """Return the time before which a period has begun whose time is over."""
        kept = self.hours if span == "hour" else self.device_days if scope == "device" else self.days
        return now - kept - LENGTH[span]
