"""Features that are kept and looked up by the key of an entity, at the hub and in training sets, whoever computes them.

What a feature is stays `shoal_contract.features`: a view of a definition holds that definition's features, and a view
of columns that somebody else computes is of their latest values. Both are fresh, or replaced, by the same rule.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shoal_contract.features import MAX_FEATURES, Feature, FeatureDefinition
from shoal_contract.ids import Name

DEFAULT_TTL_S: Final = 86_400.0
"""Of a feature of a view that says nothing itself."""
MAX_VIEW_FEATURES: Final = 4 * MAX_FEATURES


def _with_defaults(given: object) -> object:
    """Fill in what a feature of a view leaves out: it is the latest value of the column of its name, for a day."""
    if not isinstance(given, Mapping):
        return given
    return {name: _feature(str(name), fields) for name, fields in given.items()}


def _feature(name: str, fields: object) -> object:
    if fields is not None and not isinstance(fields, Mapping):
        return fields
    said: dict[str, Any] = dict(fields or {})
    of = {} if "aggregate" in said else {"aggregate": "last", "field": name}
    return {**of, "ttl_s": DEFAULT_TTL_S, **said}


class FeatureView(BaseModel):
    """Features of one kind of entity, by name."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    features: Annotated[dict[Name, Feature], BeforeValidator(_with_defaults)] = Field(
        min_length=1, max_length=MAX_VIEW_FEATURES
    )
    """`{}` or null for a feature: the latest value, good for a day, and nothing in its place after that."""

    @classmethod
    def of(cls, definition: FeatureDefinition) -> "FeatureView":
        """Return the view of what a definition computes."""
        return cls(features=dict(definition.features))

    @property
    def longest_ttl_s(self) -> float:
        """How long the value of any of them is good for."""
        return max(one.ttl_s for one in self.features.values())
