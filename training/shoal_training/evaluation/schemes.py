"""The schemes of validation by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.evaluation.drawn_schemes import HoldOut, KFold
from shoal_training.evaluation.group_scheme import Grouped
from shoal_training.evaluation.leave_out_scheme import LeaveOut
from shoal_training.evaluation.scheme import Fold, Scheme, checked_folds
from shoal_training.evaluation.temporal_scheme import Temporal
from shoal_training.named_kinds import by_kind

__all__ = ["BY_KIND", "AnyScheme", "Fold", "HoldOut", "Scheme", "checked_folds", "inner_scheme"]

BY_KIND: Final[dict[str, type[Scheme]]] = {one.kind: one for one in (HoldOut, KFold, Grouped, Temporal, LeaveOut)}

AnyScheme = Annotated[SerializeAsAny[Scheme], BeforeValidator(by_kind("scheme", BY_KIND, field="scheme"))]
"""A scheme with its fields; in a file a mapping whose `scheme` names it, or the name alone."""


def inner_scheme(scheme: Scheme, test_ratio: float) -> Scheme:
    """Return a scheme that parts what is learned from once more, as another one parted all rows.

    No entity is on both sides, or nothing learned from later rows; else a share of each class is held out.
    """
    match scheme:
        case Grouped():
            return Grouped(column=scheme.column, test_ratio=test_ratio)
        case Temporal():
            return Temporal(column=scheme.column, test_ratio=test_ratio, gap_s=scheme.gap_s)
        case _:
            return HoldOut(test_ratio=test_ratio)
