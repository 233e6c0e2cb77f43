"""The steps of a transformation by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.named_kinds import by_kind
from shoal_training.transforms.binning import Bin
from shoal_training.transforms.bounds import Clip, Log
from shoal_training.transforms.categories import Hash, OneHot, Ordinal
from shoal_training.transforms.columns import Cast, Drop
from shoal_training.transforms.dates import DateParts
from shoal_training.transforms.missing import Impute
from shoal_training.transforms.products import Difference, Polynomial, Ratio
from shoal_training.transforms.scaling import MinMax, Robust, Standardize
from shoal_training.transforms.step import Step

KINDS: Final[tuple[type[Step], ...]] = (
    Impute,
    Standardize,
    MinMax,
    Robust,
    Clip,
    Log,
    Bin,
    OneHot,
    Ordinal,
    Hash,
    Polynomial,
    Ratio,
    Difference,
    DateParts,
    Drop,
    Cast,
)
BY_KIND: Final[dict[str, type[Step]]] = {one.kind: one for one in KINDS}

AnyStep = Annotated[SerializeAsAny[Step], BeforeValidator(by_kind("step", BY_KIND, field="step"))]
"""A step with its fields; in a file a mapping whose `step` names it."""
