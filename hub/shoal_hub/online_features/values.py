"""What a reader is shown of an entity's features: the latest values, what stands for old ones, and how old they are.

Pure. Decided as devices decide it (`shoal_agent.features.store`): a value is fresh until its time to live is over.
"""

from collections.abc import Collection
from typing import Final, NamedTuple, TypeAlias

from shoal_contract.feature_views import FeatureView

Scalar: TypeAlias = float | int | bool | str | None
NS: Final = 1_000_000_000


class Held(NamedTuple):
    """An entity's values as a store has them.

    Attributes:
        at_ns: The time that they are of, in ns since 1970.
        values: By feature; one that is not there has none.
    """

    at_ns: int
    values: dict[str, Scalar]


class OnlineValue(NamedTuple):
    """A feature as it is read.

    Attributes:
        value: The latest one, or the fallback; None where there is neither.
        at_ns: The time that the latest one is of; None where there is none.
        age_s: How long ago that was.
        is_fresh: Whether it is within its time to live.
        is_fallback: Whether the fallback stands for it.
    """

    value: Scalar
    at_ns: int | None
    age_s: float | None
    is_fresh: bool
    is_fallback: bool


def shown(
    view: FeatureView, held: Held | None, now_ns: int, features: Collection[str] | None = None
) -> dict[str, OnlineValue]:
    """Return an entity's features by name, all of a view or some of them."""
    at_ns, age_s = (None, None) if held is None else (held.at_ns, (now_ns - held.at_ns) / NS)
    values = {} if held is None else held.values
    found = {}
    for name, feature in view.features.items():
        if features is not None and name not in features:
            continue
        value = values.get(name)
        is_fresh = age_s is not None and age_s <= feature.ttl_s and value is not None
        is_fallback = not is_fresh and feature.fallback is not None
        found[name] = OnlineValue(value if is_fresh else feature.fallback, at_ns, age_s, is_fresh, is_fallback)
    return found
