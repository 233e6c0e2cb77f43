"""The byte ledger: what a device has received and sent over its link, by category and by month in UTC.

A device counts each message's payload and, as nobody tells it, an estimate of what MQTT, TLS, TCP and IP add to it.
It reports totals that only grow, so that a report that is lost, late or repeated changes no sum (a grow-only counter;
Shapiro et al., A comprehensive study of convergent and commutative replicated data types, 2011, section 3.1).
"""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Final, Literal

from pydantic import Field

from shoal_contract.limits import MAX_INTEGER
from shoal_contract.wire import Count, Ordinal, WireValue

ByteCategory = Literal[
    "artifacts_broker", "artifacts_cache", "artifacts_https", "telemetry", "federated", "captures", "batches", "control"
]  # fmt: skip
"""Artifacts by where they came from (a cache on the LAN costs no uplink), reports, a round's updates, captured samples,
answers of batch jobs, all else."""
CategoryName = Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
"""On the wire: a later agent may have more categories than this hub knows, and the hub takes those that it knows."""
CATEGORIES: Final[tuple[ByteCategory, ...]] = (
    "artifacts_broker", "artifacts_cache", "artifacts_https",
    "telemetry", "federated", "captures", "batches", "control",
)  # fmt: skip
LAN_CATEGORIES: Final[frozenset[str]] = frozenset({"artifacts_cache"})
"""What stays on the LAN, and so counts for no monthly budget."""
MAX_CATEGORIES: Final = 16
MAX_LEDGER_MONTHS: Final = 2
"""Months of which one report speaks: around a month's end two of them grow."""
Month = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
"""`YYYY-MM`, in UTC."""


class Traffic(WireValue):
    """Bytes in both directions, as the device sees them."""

    received_bytes: Count = 0
    sent_bytes: Count = 0

    def plus(self, other: "Traffic") -> "Traffic":
        """Return the sum of both; what goes beyond the wire's largest integer stays there."""
        return Traffic(
            received_bytes=min(MAX_INTEGER, self.received_bytes + other.received_bytes),
            sent_bytes=min(MAX_INTEGER, self.sent_bytes + other.sent_bytes),
        )

    def at_least(self, other: "Traffic") -> "Traffic":
        """Return the larger of both, each direction by itself: of two totals of one counter, the later one."""
        return Traffic(
            received_bytes=max(self.received_bytes, other.received_bytes),
            sent_bytes=max(self.sent_bytes, other.sent_bytes),
        )

    @property
    def total_bytes(self) -> int:
        """Both directions together."""
        return self.received_bytes + self.sent_bytes


class LedgerTotals(WireValue):
    """A device's totals since its ledger began; `stream` names that ledger, and a later one has a greater name."""

    stream: Ordinal
    months: dict[Month, Annotated[dict[CategoryName, Traffic], Field(max_length=MAX_CATEGORIES)]] = Field(
        max_length=MAX_LEDGER_MONTHS
    )


def month_of(at: datetime) -> str:
    """Return the month of an aware time, `YYYY-MM` in UTC."""
    return f"{at.astimezone(timezone.utc):%Y-%m}"


def next_month(month: str) -> datetime:
    """Return when the month after this one begins, in UTC."""
    year, number = map(int, month.split("-"))
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=timezone.utc)


def uplink_bytes(traffic: Mapping[str, Traffic]) -> int:
    """Return what of a month's traffic counts for a budget: both directions of all that leaves the LAN."""
    return sum(one.total_bytes for category, one in traffic.items() if category not in LAN_CATEGORIES)
