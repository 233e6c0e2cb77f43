"""The kinds of checks by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.named_kinds import by_kind
from shoal_training.validation.check import Check
from shoal_training.validation.columns import Categories, Constant, NotNull, Pattern
from shoal_training.validation.drift import Drift
from shoal_training.validation.expression import Expression
from shoal_training.validation.keys import Unique
from shoal_training.validation.outliers import Outliers
from shoal_training.validation.pandera_schema import PanderaSchema
from shoal_training.validation.ranges import Range
from shoal_training.validation.tables import Freshness, RowCount, Schema
from shoal_training.validation.target import Classes, Leakage

KINDS: Final[tuple[type[Check], ...]] = (
    Schema,
    RowCount,
    NotNull,
    Range,
    Unique,
    Categories,
    Pattern,
    Constant,
    Expression,
    Freshness,
    Drift,
    Outliers,
    Leakage,
    Classes,
    PanderaSchema,
)
BY_KIND: Final[dict[str, type[Check]]] = {one.kind: one for one in KINDS}

AnyCheck = Annotated[SerializeAsAny[Check], BeforeValidator(by_kind("check", BY_KIND, field="check"))]
"""A check with its fields; in a file a mapping whose `check` names it."""
