"""Examines tables by checks as a pipeline file names them."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shoal_training.validation.check import Action, Check, Outcome
from shoal_training.validation.checks import BY_KIND


@dataclass(frozen=True)
class Asked:
    """Checks as a file has them."""

    checks: tuple[Check, ...]
    on_failure: Action = "fail"


def check(kind: str, **fields: Any) -> Check:
    return BY_KIND[kind].model_validate(fields)


def found(table: dict[str, Any] | pa.Table, kind: str, before: pa.Table | None = None, **fields: Any) -> Outcome:
    """Examine a table by one check."""
    return check(kind, **fields).examine(pa.table(table) if isinstance(table, dict) else table, before)


def bad_rows(outcome: Outcome) -> list[int]:
    """Return the rows that it does not hold for."""
    assert outcome.is_bad is not None
    return [int(at) for at in outcome.is_bad.nonzero()[0]]
