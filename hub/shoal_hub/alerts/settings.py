"""The settings of alerts; they are among the hub's."""

from pydantic import BaseModel

from shoal_hub.alerts.reach import Reach
from shoal_hub.setting import setting


class AlertSettings(BaseModel):
    """How often rules are looked at, how what they find is told, and where to."""

    alerts_every_s: float = setting(
        "SHOAL_ALERTS_EVERY_S",
        15.0,
        "s",
        "How often alert rules are looked at; in a large fleet less often.",
        ge=1,
        le=300,
    )
    alerts_group_wait_s: float = setting(
        "SHOAL_ALERTS_GROUP_WAIT_S",
        30.0,
        "s",
        "How long an alert waits for others of its rule, to be told as one.",
        ge=0,
    )
    alerts_group_interval_s: float = setting(
        "SHOAL_ALERTS_GROUP_INTERVAL_S", 300.0, "s", "Between two messages of one rule to one channel at least.", ge=0
    )
    alerts_repeat_interval_s: float = setting(
        "SHOAL_ALERTS_REPEAT_INTERVAL_S",
        4 * 3600.0,
        "s",
        "After which an alert that still fires, and that nobody has acknowledged, is told again.",
        ge=60,
    )
    alerts_give_up_after_s: float = setting(
        "SHOAL_ALERTS_GIVE_UP_AFTER_S",
        86_400.0,
        "s",
        "How long a message is tried to be delivered, waits between attempts added up, before it is given up.",
        ge=0,
    )
    alerts_retention_s: float = setting(
        "SHOAL_ALERTS_RETENTION_S",
        90 * 86_400.0,
        "s",
        "How long alerts that are over, silences and deliveries are kept.",
        ge=3600,
    )
    alerts_reach: Reach = setting(
        "SHOAL_ALERTS_REACH",
        "public",
        "public, lan or loopback",
        "Where alerts may go: to public addresses alone, to private networks as well, or even to this machine.",
    )
