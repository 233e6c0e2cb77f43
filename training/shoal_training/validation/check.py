"""What a check of rows is: a few fields that say what must hold, and which rows it does not hold for.

A check is data, from a pipeline file. Its kinds are in `checks`; what is done about failures is for `validate`.
"""

from abc import ABC, abstractmethod
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


@dataclass(frozen=True)
class Outcome:
    """What a check has found.

    Attributes:
        is_bad: Which rows it does not hold for, (rows,) bool; None: it speaks of the table as a whole.
        passed: Whether it holds.
        message: What was found and what was expected, in a sentence.
        facts: Numbers behind it, for the report.
    """

    passed: bool
    message: str
    is_bad: npt.NDArray[np.bool_] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Check(Value, ABC):
    """Something that must hold for rows. Subclasses name their `kind`, declare fields, and examine."""

    kind: ClassVar[str]
    """By which a pipeline file names it."""

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
