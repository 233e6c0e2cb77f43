"""Runs all checks over a table, and says which rows are kept and whether the run may go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shoal_training.errors import ValidationFailedError
from shoal_training.validation.check import Action, Check, Mask, Outcome
from shoal_training.validation.side_by_side import side_by_side

if TYPE_CHECKING:
    import pyarrow as pa


class Checks(Protocol):
    """What is checked: the section `validation` of a pipeline file."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks."""

    @property
    def on_failure(self) -> Action:
        """For those that say nothing themselves."""


@dataclass(frozen=True)
class Examined:
    """A check with what it found and what is done about it."""

    check: Check
    outcome: Outcome
    action: Action

    @property
    def left_out(self) -> Mask | None:
        """Which rows are left out for it, (rows,) bool; None: none."""
        return self.outcome.is_bad if self.action == "quarantine" else None


@dataclass(frozen=True)
class ValidationResult:
    """What all checks came to.

    Attributes:
        examined: Each check.
        kept: Which rows are gone on with, (rows,) bool.
    """

    examined: tuple[Examined, ...]
    kept: Mask

    def described(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "rows": len(self.kept),
            "kept": int(self.kept.sum()),
            "checks": [
                {
                    "check": one.check.kind,
                    "fields": one.check.model_dump(mode="json", exclude_defaults=True),
                    "passed": one.outcome.passed,
                    "action": one.action,
                    "message": one.outcome.message,
                    "facts": one.outcome.facts,
                }
                for one in self.examined
            ],
        }

    def raise_if_failed(self) -> None:
        """End what must not go on; see the function of this name."""
        raise_if_failed(self.described())


def raise_if_failed(described: Mapping[str, Any]) -> None:
    """End what must not go on.

    Args:
        described: A result, see `ValidationResult.described`.

    Raises:
        ValidationFailedError: A check that fails the run does not hold, or no row is kept.
    """
    failed = [one for one in described["checks"] if not one["passed"] and one["action"] == "fail"]
    if failed:
        told = "; ".join(f"{one['check']}: {one['message']}" for one in failed)
        raise ValidationFailedError(f"validating: {told}. Mend the data, or give the check another action")
    if not described["kept"]:
        raise ValidationFailedError("validating: every row is quarantined; look at the report")


def validate(table: "pa.Table", before: "pa.Table | None", asked: Checks) -> ValidationResult:
    """Run the checks.

    A failure that has no rows to leave out, of the table as a whole, fails where it would be quarantined.

    Args:
        table: The rows.
        before: Those of the version before; None: there is none.
        asked: The checks.

    Raises:
        DataError: A check can not be examined.
    """
    kept = np.ones(len(table), dtype=np.bool_)
    examined = []
    outcomes = side_by_side(lambda check: check.examine(table, before), asked.checks, len(table))
    for check, outcome in zip(asked.checks, outcomes, strict=True):
        action = check.action or asked.on_failure
        if action == "quarantine" and outcome.is_bad is None:
            action = "fail"
        one = Examined(check, outcome, action)
        if one.left_out is not None:
            kept &= ~one.left_out
        examined.append(one)
    return ValidationResult(tuple(examined), kept)
