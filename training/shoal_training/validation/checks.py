"""The kinds of checks by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.named_kinds import by_kind
from shoal_training.validation.check import Check
from shoal_training.validation.columns import NotNull

BY_KIND: Final[dict[str, type[Check]]] = {one.kind: one for one in (NotNull,)}

AnyCheck = Annotated[SerializeAsAny[Check], BeforeValidator(by_kind("check", BY_KIND, field="check"))]
"""A check with its fields; in a file a mapping whose `check` names it."""
