"""The settings of the history of drift; they are among the hub's."""

from pydantic import BaseModel

from shoal_hub.setting import setting

_DAY_S = 86_400.0


class HistorySettings(BaseModel):
    """How often windows are merged into hours and days, how long these are kept, and of which cohorts."""

    drift_roll_up_every_s: float = setting(
        "SHOAL_DRIFT_ROLL_UP_EVERY_S",
        300.0,
        "s",
        "How often windows are merged into the history of drift; the more seldom, the less work it is.",
        ge=1,
        le=3600,
    )
    drift_hours_retention_s: float = setting(
        "SHOAL_DRIFT_HOURS_RETENTION_S",
        14 * _DAY_S,
        "s",
        "How long merged hours are kept, of the fleet, its cohorts and each device: some 30 kB a device and day.",
        ge=_DAY_S,
    )
    drift_device_counts_retention_s: float = setting(
        "SHOAL_DRIFT_DEVICE_COUNTS_RETENTION_S",
        40 * _DAY_S,
        "s",
        "How long the histograms of each device's day are kept, about 2 kB each; what tests say of them stays longer.",
        ge=_DAY_S,
    )
    drift_days_retention_s: float = setting(
        "SHOAL_DRIFT_DAYS_RETENTION_S",
        400 * _DAY_S,
        "s",
        "How long merged days of the fleet and its cohorts are kept, and what tests say of each device's day.",
        ge=_DAY_S,
    )
    drift_cohort_tags: str = setting(
        "SHOAL_DRIFT_COHORT_TAGS",
        "",
        "names, comma-separated",
        "Tags of devices whose values are cohorts with a history of their own, besides devices' groups; at most 8.",
        pattern=r"^\s*([^,\s]+\s*(,\s*[^,\s]+\s*){0,7})?$",
    )
    drift_cohorts_max: int = setting(
        "SHOAL_DRIFT_COHORTS_MAX",
        200,
        "cohorts",
        "Cohorts of a version that have a history of one day; of others there is the fleet's alone.",
        ge=0,
        le=10_000,
    )
