"""The friendly call by an entity's id: which of the features that the device keeps of it a model takes, and how old.

A model's features are found by their names: `<definition>/<feature>`, or the feature's name alone where one definition
has it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import UNPROCESSABLE
from shoal_agent.processing import Pipeline
from shoal_contract.manifest import VersionManifest

_SHOWN_CHARS: Final = 300
_SEND: Final = "or send the features themselves"


class EntityValue(Protocol):
    """A feature as the device's store has it."""

    @property
    def value(self) -> float | None:
        """The latest value that is not too old, or the fallback; None where there is neither."""

    @property
    def age_s(self) -> float | None:
        """How old the latest value is; None where there never was one."""

    @property
    def is_fallback(self) -> bool:
        """Whether the fallback stands for it."""


ReadEntity = Callable[[str], Mapping[str, EntityValue]]
"""From an entity to its features as `<definition>/<feature>`, in a worker thread; a RequestError where it has none."""


class Chosen:
    """What a model takes of an entity.

    Attributes:
        features: Values by the names that the model has for them.
        ages_s: How old each is; None for a fallback.
        fallbacks: Which are fallbacks.
    """

    def __init__(self, found: Mapping[str, EntityValue]) -> None:
        self.features = {name: one.value for name, one in found.items()}
        self.ages_s = {name: None if one.is_fallback else one.age_s for name, one in found.items()}
        self.fallbacks = [name for name, one in found.items() if one.is_fallback]


@dataclass(frozen=True)
class Entity:
    """An entity and what is known of it, in place of the features of a call."""

    id: str
    values: Mapping[str, EntityValue]

    def choose(self, manifest: VersionManifest) -> Chosen:
        """Return what a version takes of it.

        Raises:
            RequestError: The version takes something else than features, or one of them is not there or too old.
        """
        names = _names_of(manifest, [*self.values, *map(_short, self.values)])
        return Chosen({name: self._value(name, manifest.model) for name in names})

    def _value(self, name: str, model: str) -> EntityValue:
        doing = f"entity {self.id!r}: model {model!r} takes the feature {name!r}"
        places = [name] if name in self.values else [one for one in self.values if _short(one) == name]
        if not places:
            known = ", ".join(self.values)[:_SHOWN_CHARS] or "none"
            raise RequestError(f"{doing}, the device computes {known}", UNPROCESSABLE, f"have it computed, {_SEND}")
        if len(places) > 1:
            message = f"{doing}, which {' and '.join(places)[:_SHOWN_CHARS]} may be"
            raise RequestError(message, UNPROCESSABLE, f"name it as one of them in the model's baseline, {_SEND}")
        found = self.values[places[0]]
        if found.value is None:
            age = "has no value yet" if found.age_s is None else f"was computed {found.age_s:.1f} s ago, too long"
            remedy = f"see GET /shoal/v1/pipelines for what holds it up, give it a fallback, {_SEND}"
            raise RequestError(f"{doing}: {places[0]} {age}, and there is no fallback", UNPROCESSABLE, remedy)
        return found


def shown(entity: Entity, chosen: Chosen) -> dict[str, Any]:
    """Return what an answer says of the features that it was made from."""
    ages_s = {name: None if age_s is None else round(age_s, 3) for name, age_s in chosen.ages_s.items()}
    return {"entity_id": entity.id, "features_age_s": ages_s, "fallbacks": chosen.fallbacks}


def _short(name: str) -> str:
    """Return a feature's name without its definition."""
    return name.partition("/")[2]


def _names_of(manifest: VersionManifest, known: Collection[str]) -> tuple[str, ...]:
    """Return the features that a version takes: the columns of its declared inputs, or its baseline's features."""
    if manifest.processing is not None:
        return Pipeline(manifest).columns(known)
    if manifest.baseline.features_of is not None:
        message = f"predicting for an entity: model {manifest.model!r} takes tensors, not features by name"
        raise RequestError(message, UNPROCESSABLE, "send them by /v2/models/{name}/infer")
    return tuple(feature.name for feature in manifest.baseline.features)
