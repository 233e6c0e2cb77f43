"""A feature view with its rows, and what a join tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shoal_contract.feature_views import FeatureView

if TYPE_CHECKING:
    import pyarrow as pa

OnDuplicates = Literal["fail", "last"]
"""Of rows with one key and the same times but other values: refuse them, or take the one that stands last."""


@dataclass(frozen=True)
class ViewRows:
    """Rows of a feature view, in any order.

    Attributes:
        name: Of the view; its features become columns `<name>/<feature>`.
        view: Its features. The values of one are in the column of its name or, where there is none, of its field.
        table: The rows.
        entity: Columns that name the entity; labels have them, too.
        time: Column of the time that values are of.
        created: Column of the time at which values were known; None: as soon as they were.
    """

    name: str
    view: FeatureView
    table: "pa.Table"
    entity: tuple[str, ...]
    time: str = "event_time"
    created: str | None = None

    def column_of(self, feature: str) -> str:
        """Return the column with the values of a feature, which the table may lack."""
        field = self.view.features[feature].field
        return feature if feature in self.table.column_names or field is None else field


@dataclass(frozen=True)
class ViewReport:
    """What became of a view in a join.

    Attributes:
        view: Its name.
        rows: Rows of the view.
        labels: Rows of labels; as many come out.
        missing: Labels for which no value was known at their time.
        withheld: Labels for which a newer value is left out, because it became known only after their time.
        expired: By feature, labels whose latest value was older than its time to live.
        duplicates: Rows that were used and have a double, with the same key and times.
        known_early: Rows that were known before the time that they are of: they tell of a future that was guessed.
    """

    view: str
    rows: int
    labels: int
    missing: int
    withheld: int
    expired: Mapping[str, int]
    duplicates: int
    known_early: int

    def told(self) -> str:
        """Return it as a line for a person."""
        expired = sum(self.expired.values())
        parts = [
            f"{self.missing} of {self.labels} labels without an earlier value",
            f"{self.withheld} where a newer one was not known yet" if self.withheld else "",
            f"{expired} values too old" if expired else "",
            f"{self.duplicates} duplicate rows" if self.duplicates else "",
            f"{self.known_early} rows known before their time" if self.known_early else "",
        ]
        return f"{self.view}: " + ", ".join(part for part in parts if part)
