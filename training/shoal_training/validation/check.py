"""What a check of rows is: a few fields that say what must hold, and which rows it does not hold for.

A check is data, from a pipeline file. Its kinds are in `checks`; what is done about failures is for `validate`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shoal_compression.values import Value

if TYPE_CHECKING:
    import pyarrow as pa

Action = Literal["fail", "quarantine", "warn"]
"""Ends the run; leaves the rows out and goes on with the others; goes on with all and says so."""
Mask = npt.NDArray[np.bool_]
"""Which rows, (rows,)."""
_TOLD_REASONS = 4


@dataclass(frozen=True)
class Outcome:
    """What a check has found.

    Attributes:
        is_bad: Which rows it does not hold for, (rows,) bool; None: it speaks of the table as a whole.
        passed: Whether it holds.
        message: What was found and what was expected, in a sentence.
        facts: Numbers behind it, for the report.
        reasons: Why rows are bad, and which; together they are `is_bad`. Empty: the check's name is all there is.
    """

    passed: bool
    message: str
    is_bad: Mask | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    reasons: tuple[tuple[str, Mask], ...] = ()


class Check(Value, ABC):
    """Something that must hold for rows. Subclasses name their `kind`, declare fields, and examine."""

    kind: ClassVar[str]
    """By which a pipeline file names it."""
    asks_the_clock: ClassVar[bool] = False
    """Whether what it finds changes with time alone, so that it is not kept from run to run."""

    action: Action | None = None
    """What is done where it does not hold; None: what `validation.on_failure` says."""
    tolerated_ratio: float = Field(default=0.0, ge=0, le=1)
    """Share of rows that may fail before the check does; such rows are left out where the action is `quarantine`."""

    @abstractmethod
    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:
        """Examine all rows.

        Args:
            table: The rows.
            before: Those of the version before, for checks that compare; None: there is none.

        Raises:
            DataError: It can not be examined: a column is missing, or of a type that has no such property.
        """

    def judged(self, rows: int, reasons: Mapping[str, Mask], facts: dict[str, Any] | None = None) -> Outcome:
        """Return the outcome of what was found row by row.

        Args:
            rows: Of the table.
            reasons: Why rows are bad, in a few words, and which; ones without rows are left out.
            facts: Numbers behind it.
        """
        found = [(reason, mask, int(np.count_nonzero(mask))) for reason, mask in reasons.items()]
        found = sorted([one for one in found if one[2]], key=lambda one: -one[2])
        is_bad = np.zeros(rows, dtype=np.bool_)
        for _, mask, _ in found:
            is_bad |= mask
        count = int(np.count_nonzero(is_bad))
        told = "; ".join(f"{reason} ({number:,})" for reason, _, number in found[:_TOLD_REASONS])
        more = f" and {len(found) - _TOLD_REASONS} more" if len(found) > _TOLD_REASONS else ""
        message = f"{count:,} of {rows:,} rows: {told}{more}" if count else f"it holds for all {rows:,} rows"
        if count and self.tolerated_ratio:
            message += f"; {self.tolerated_ratio:.2%} are tolerated"
        counts = {reason: number for reason, _, number in found}
        return Outcome(
            passed=count <= self.tolerated_ratio * rows,
            message=message,
            is_bad=is_bad,
            facts={"rows": count, "reasons": counts, **(facts or {})},
            reasons=tuple((reason, mask) for reason, mask, _ in found),
        )
