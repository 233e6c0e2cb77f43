"""The composer: folds what every feature wants of one device into its desired state. Pure.

For each section one intent wins, by kind and then by age; the others are shown as conflicts where they differ.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredRound, DesiredSite
from shoal_hub.devices.tables import IntentKind

PRIORITY: Final[Mapping[IntentKind, int]] = {"pin": 4, "rollback": 3, "rollout": 2, "ab": 1, "default": 0}
MODELS: Final = "models/"
FEDERATED: Final = "federated/"
CONFIG: Final = "config"
SITE: Final = "site"
_MAX_MODELS: Final = 64
_MAX_ROUNDS: Final = 16

_CONTENT: Final = TypeAdapter(
    tuple[dict[str, DesiredModel], dict[str, DesiredRound], DesiredConfig, DesiredSite | None]
)
_Body = DesiredModel | DesiredRound | DesiredConfig | DesiredSite


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

    @property
    def content_sha256(self) -> str:
        """SHA-256 of the content: equal for equal content, whatever the intents behind it."""
        content = (self.models, self.federated, self.config, self.site)
        return hashlib.sha256(_CONTENT.dump_json(content)).hexdigest()


def compose(intents: Iterable[Wanted], now: datetime) -> Composition:
    """Fold intents by the total order pin > rollback > rollout > ab > default, then the newest (creation, id).

    Args:
        intents: All intents of one device, in any order.
        now: Intents whose `until` has come count no longer.
    """
    models: dict[str, DesiredModel] = {}
    federated: dict[str, DesiredRound] = {}
    config, site = DesiredConfig(), None
    conflicts: list[Conflict] = []
    for section, ranked in _by_section(intents, now).items():
        for wanted in ranked:
            body = _read(wanted, len(models), len(federated))
            if isinstance(body, str):
                conflicts.append(Conflict(section, wanted.owner, wanted.kind, "", body))
                continue
            match body:
                case DesiredModel():
                    models[section.removeprefix(MODELS)] = body
                case DesiredRound():
                    federated[section.removeprefix(FEDERATED)] = body
                case DesiredConfig():
                    config = body
                case DesiredSite():
                    site = body
            conflicts.extend(_losers(ranked, wanted))
            break
    return Composition(models, federated, config, tuple(conflicts), site)


def _by_section(intents: Iterable[Wanted], now: datetime) -> dict[str, list[Wanted]]:
    """Return the intents in force by section, in a fixed order, the strongest first."""
    sections: dict[str, list[Wanted]] = {}
    for wanted in intents:
        if wanted.until is None or now < wanted.until:
            sections.setdefault(wanted.section, []).append(wanted)
    return {section: sorted(sections[section], key=_rank, reverse=True) for section in sorted(sections)}


def _rank(wanted: Wanted) -> tuple[int, datetime, int]:
    return PRIORITY[wanted.kind], wanted.created_at, wanted.id


def _read(wanted: Wanted, models: int, rounds: int) -> _Body | str:
    """Return the intent's body, or why it cannot take effect."""
    try:
        if wanted.section.startswith(MODELS):
            full = f"a device serves at most {_MAX_MODELS} models"
            return full if models >= _MAX_MODELS else DesiredModel.model_validate(wanted.body)
        if wanted.section.startswith(FEDERATED):
            full = f"a device takes part in at most {_MAX_ROUNDS} rounds at a time"
            return full if rounds >= _MAX_ROUNDS else DesiredRound.model_validate(wanted.body)
        if wanted.section == CONFIG:
            return DesiredConfig.model_validate(wanted.body)
        if wanted.section == SITE:
            return DesiredSite.model_validate(wanted.body)
    except ValidationError as error:
        return f"its body is not valid: {error.errors(include_url=False)[0]['msg']}"
    return "no such section: models/<name>, federated/<run>, config or site is expected"


def _losers(ranked: list[Wanted], winner: Wanted) -> list[Conflict]:
    after = ranked[ranked.index(winner) + 1 :]
    return [
        Conflict(one.section, one.owner, one.kind, winner.owner, f"{winner.kind} by {winner.owner} comes first")
        for one in after
        if one.body != winner.body
    ]
