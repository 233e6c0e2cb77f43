"""The composer: folds what every feature wants of one device into its desired state. Pure.

For each section one intent wins, by kind and then by age; the others are shown as conflicts where they differ.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredRound, DesiredSite, DesiredTrial
from shoal_contract.features import DesiredFeatures
from shoal_contract.limits import MAX_FEATURES_BYTES
from shoal_hub.devices.tables import IntentKind

PRIORITY: Final[Mapping[IntentKind, int]] = {"pin": 4, "rollback": 3, "rollout": 2, "ab": 1, "default": 0}
MODELS: Final = "models/"
FEDERATED: Final = "federated/"
TRIALS: Final = "trials/"
CONFIG: Final = "config"
SITE: Final = "site"
FEATURES: Final = "features"

_CONTENT: Final = TypeAdapter(
    tuple[dict[str, DesiredModel], dict[str, DesiredRound], DesiredConfig, DesiredSite | None, dict[str, DesiredTrial]]
)
_NO_CONFIG: Final = DesiredConfig()
_Body = DesiredModel | DesiredRound | DesiredTrial | DesiredConfig | DesiredSite | DesiredFeatures


class _Many(NamedTuple):
    """Sections of which a device has several, under one prefix."""

    form: type[DesiredModel | DesiredRound | DesiredTrial]
    most: int
    called: str


_MANY: Final = {
    MODELS: _Many(DesiredModel, 64, "models"),
    FEDERATED: _Many(DesiredRound, 16, "rounds at a time"),
    TRIALS: _Many(DesiredTrial, 16, "trials at a time"),
}
_ONE: Final[Mapping[str, type[DesiredConfig | DesiredSite | DesiredFeatures]]] = {
    CONFIG: DesiredConfig,
    SITE: DesiredSite,
    FEATURES: DesiredFeatures,
}


@dataclass(frozen=True)
class Wanted:
    """One intent, as the composer sees it."""

    id: int
    section: str
    kind: IntentKind
    owner: str
    body: Mapping[str, Any]
    created_at: datetime
    until: datetime | None = None


@dataclass(frozen=True)
class Conflict:
    """An intent that had no effect, and why."""

    section: str
    owner: str
    kind: IntentKind
    winner: str
    reason: str


@dataclass(frozen=True)
class Composition:
    """The content of a desired state, and the intents that lost."""

    models: dict[str, DesiredModel]
    federated: dict[str, DesiredRound]
    config: DesiredConfig
    conflicts: tuple[Conflict, ...]
    site: DesiredSite | None = None
    trials: dict[str, DesiredTrial] = field(default_factory=dict)
    features: DesiredFeatures | None = None

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 of the content: equal for equal content, whatever the intents behind it."""
        content = (self.models, self.federated, self.config, self.site, self.trials)
        # Features come after the rest, and only where there are any: what devices without them have stays what it was.
        features = b"" if self.features is None else self.features.model_dump_json().encode()
        return hashlib.sha256(_CONTENT.dump_json(content) + features).hexdigest()


def compose(intents: Iterable[Wanted], now: datetime) -> Composition:
    """Fold intents by the total order pin > rollback > rollout > ab > default, then the newest (creation, id).

    Args:
        intents: All intents of one device, in any order.
        now: Intents whose `until` has come count no longer.
    """
    models: dict[str, DesiredModel] = {}
    federated: dict[str, DesiredRound] = {}
    trials: dict[str, DesiredTrial] = {}
    config, site, features = _NO_CONFIG, None, None
    conflicts: list[Conflict] = []
    for section, ranked in _by_section(intents, now).items():
        for wanted in ranked:
            body = _read(wanted, {MODELS: len(models), FEDERATED: len(federated), TRIALS: len(trials)})
            if isinstance(body, str):
                conflicts.append(Conflict(section, wanted.owner, wanted.kind, "", body))
                continue
            match body:
                case DesiredModel():
                    models[section.removeprefix(MODELS)] = body
                case DesiredRound():
                    federated[section.removeprefix(FEDERATED)] = body
                case DesiredTrial():
                    trials[section.removeprefix(TRIALS)] = body
                case DesiredConfig():
                    config = body
                case DesiredSite():
                    site = body
                case DesiredFeatures():
                    features = body
            conflicts.extend(_losers(ranked, wanted))
            break
    return Composition(models, federated, config, tuple(conflicts), site, trials, features)


def _by_section(intents: Iterable[Wanted], now: datetime) -> dict[str, list[Wanted]]:
    """Return the intents in force by section, in a fixed order, the strongest first."""
    sections: dict[str, list[Wanted]] = {}
    for wanted in intents:
        if wanted.until is None or now < wanted.until:
            sections.setdefault(wanted.section, []).append(wanted)
    return {section: sorted(sections[section], key=_rank, reverse=True) for section in sorted(sections)}


def _rank(wanted: Wanted) -> tuple[int, datetime, int]:
    return PRIORITY[wanted.kind], wanted.created_at, wanted.id


def _read(wanted: Wanted, taken: Mapping[str, int]) -> _Body | str:
    """Return the intent's body, or why it cannot take effect; `taken` counts by prefix what is composed already."""
    prefix = next((one for one in _MANY if wanted.section.startswith(one)), "")
    if prefix and taken[prefix] >= _MANY[prefix].most:
        return f"a device has at most {_MANY[prefix].most} {_MANY[prefix].called}"
    form = _MANY[prefix].form if prefix else _ONE.get(wanted.section)
    if form is None:
        return "no such section: models/<name>, federated/<run>, trials/<model>, config, site or features is expected"
    try:
        body = form.model_validate(wanted.body)
    except ValidationError as error:
        return f"its body is not valid: {error.errors(include_url=False)[0]['msg']}"
    if isinstance(body, DesiredFeatures) and (size := len(body.model_dump_json())) > MAX_FEATURES_BYTES:
        return f"its definitions and pipelines take {size} bytes, at most {MAX_FEATURES_BYTES} have room in a state"
    return body


def _losers(ranked: list[Wanted], winner: Wanted) -> list[Conflict]:
    after = ranked[ranked.index(winner) + 1 :]
    return [
        Conflict(one.section, one.owner, one.kind, winner.owner, f"{winner.kind} by {winner.owner} comes first")
        for one in after
        if one.body != winner.body
    ]
