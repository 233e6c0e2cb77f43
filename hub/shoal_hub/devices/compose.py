"""The composer: folds what every feature wants of one device into its desired state. Pure.

For each section one intent wins, by kind and then by age; the others are shown as conflicts where they differ.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from shoal_contract.batch_jobs import MAX_BATCHES, DesiredBatch
from shoal_contract.benchmarks import MAX_BENCHMARKS, DesiredBenchmark
from shoal_contract.captures import DesiredCaptures
from shoal_contract.compositions import MAX_COMPOSITIONS, DesiredComposition
from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredRound, DesiredSite, DesiredTrial
from shoal_contract.features import DesiredFeatures
from shoal_contract.limits import MAX_BATCH_BYTES, MAX_BENCHMARK_BYTES, MAX_COMPOSITION_BYTES, MAX_FEATURES_BYTES
from shoal_hub.devices.tables import IntentKind

PRIORITY: Final[Mapping[IntentKind, int]] = {"pin": 4, "rollback": 3, "rollout": 2, "ab": 1, "default": 0}
MODELS: Final = "models/"
FEDERATED: Final = "federated/"
TRIALS: Final = "trials/"
COMPOSITIONS: Final = "compositions/"
CONFIG: Final = "config"
SITE: Final = "site"
FEATURES: Final = "features"
CAPTURES: Final = "captures"
BATCHES: Final = "batches/"
BENCHMARKS: Final = "benchmarks/"

_CONTENT: Final = TypeAdapter(
    tuple[dict[str, DesiredModel], dict[str, DesiredRound], DesiredConfig, DesiredSite | None, dict[str, DesiredTrial]]
)
_CONFIG_AT, _SITE_AT = 2, 3
"""Places in the content."""
_LATER_CONFIG: Final = ("drift_fall_back", "drift_tolerance", "drift_warm_up_windows", "drift_is_recentred")
"""What a configuration did not have at first; one without it is what it was."""
_NO_CONFIG: Final = DesiredConfig()
_CALLED: Final = TypeAdapter(dict[str, DesiredComposition])
_MEASURED: Final = TypeAdapter(dict[str, DesiredBenchmark])
_Body = (
    DesiredModel
    | DesiredRound
    | DesiredTrial
    | DesiredComposition
    | DesiredBatch
    | DesiredBenchmark
    | DesiredConfig
    | DesiredSite
    | DesiredFeatures
    | DesiredCaptures
)


class _Many(NamedTuple):
    """Sections of which a device has several, under one prefix."""

    form: type[DesiredModel | DesiredRound | DesiredTrial | DesiredComposition | DesiredBatch | DesiredBenchmark]
    most: int
    called: str


_MANY: Final = {
    MODELS: _Many(DesiredModel, 64, "models"),
    FEDERATED: _Many(DesiredRound, 16, "rounds at a time"),
    TRIALS: _Many(DesiredTrial, 16, "trials at a time"),
    COMPOSITIONS: _Many(DesiredComposition, MAX_COMPOSITIONS, "compositions"),
    BATCHES: _Many(DesiredBatch, MAX_BATCHES, "batch jobs at a time"),
    BENCHMARKS: _Many(DesiredBenchmark, MAX_BENCHMARKS, "benchmarks at a time"),
}
_ONE: Final[Mapping[str, type[DesiredConfig | DesiredSite | DesiredFeatures | DesiredCaptures]]] = {
    CONFIG: DesiredConfig,
    SITE: DesiredSite,
    FEATURES: DesiredFeatures,
    CAPTURES: DesiredCaptures,
}
_MAX_BYTES: Final[Mapping[type[_Body], int]] = {
    DesiredFeatures: MAX_FEATURES_BYTES,
    DesiredComposition: MAX_COMPOSITION_BYTES,
    DesiredBatch: MAX_BATCH_BYTES,
    DesiredBenchmark: MAX_BENCHMARK_BYTES,
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
    compositions: dict[str, DesiredComposition] = field(default_factory=dict)
    captures: DesiredCaptures | None = None
    batches: dict[str, DesiredBatch] = field(default_factory=dict)
    benchmarks: dict[str, DesiredBenchmark] = field(default_factory=dict)

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 of the content: equal for equal content, whatever the intents behind it."""
        content = (self.models, self.federated, self.config, self.site, self.trials)
        without = {_CONFIG_AT: {name for name in _LATER_CONFIG if getattr(self.config, name) is None}}
        if self.site is not None and self.site.handover is None:  # as for the configuration
            without[_SITE_AT] = {"handover"}
        main = _CONTENT.dump_json(content, exclude=without)
        # The others come after these, and only where there are any: what devices without them have stays what it was.
        others = (self.features, self.captures, *(self.batches[name] for name in sorted(self.batches)))
        parts = [one.model_dump_json().encode() for one in others if one is not None]
        names = "".join(f"{name}/" for name in sorted(self.batches)).encode()  # no name has a slash
        benchmarks = _MEASURED.dump_json(self.benchmarks) if self.benchmarks else b""
        compositions = _CALLED.dump_json(self.compositions) if self.compositions else b""
        return hashlib.sha256(b"".join([main, *parts, names, compositions, benchmarks])).hexdigest()


def compose(intents: Iterable[Wanted], now: datetime) -> Composition:
    """Fold intents by the total order pin > rollback > rollout > ab > default, then the newest (creation, id).

    Args:
        intents: All intents of one device, in any order.
        now: Intents whose `until` has come count no longer.
    """
    sections = _by_section(intents, now)
    found: dict[str, dict[str, Any]] = {kind: {} for kind in (*_MANY, *_ONE)}
    conflicts: list[Conflict] = []
    for section, ranked in sections.items():
        prefix = next((one for one in _MANY if section.startswith(one)), "")
        for wanted in ranked:
            body = _read(wanted, prefix, len(found[prefix]) if prefix else 0, sections.keys())
            if isinstance(body, str):
                conflicts.append(Conflict(section, wanted.owner, wanted.kind, "", body))
                continue
            found[prefix or section][section.removeprefix(prefix)] = body
            conflicts.extend(_losers(ranked, wanted))
            break
    return Composition(
        models=found[MODELS],
        federated=found[FEDERATED],
        config=found[CONFIG].get(CONFIG, _NO_CONFIG),
        conflicts=tuple(conflicts),
        site=found[SITE].get(SITE),
        trials=found[TRIALS],
        features=found[FEATURES].get(FEATURES),
        compositions=found[COMPOSITIONS],
        captures=found[CAPTURES].get(CAPTURES),
        batches=found[BATCHES],
        benchmarks=found[BENCHMARKS],
    )


def _by_section(intents: Iterable[Wanted], now: datetime) -> dict[str, list[Wanted]]:
    """Return the intents in force by section, in a fixed order, the strongest first."""
    sections: dict[str, list[Wanted]] = {}
    for wanted in intents:
        if wanted.until is None or now < wanted.until:
            sections.setdefault(wanted.section, []).append(wanted)
    return {section: sorted(sections[section], key=_rank, reverse=True) for section in sorted(sections)}


def _rank(wanted: Wanted) -> tuple[int, datetime, int]:
    return PRIORITY[wanted.kind], wanted.created_at, wanted.id


def _read(wanted: Wanted, prefix: str, taken: int, sections: Collection[str]) -> _Body | str:
    """Return the intent's body, or why it cannot take effect.

    Args:
        wanted: The intent.
        prefix: Of its section, if a device has several of them; else empty.
        taken: How many of them are composed already.
        sections: All that are wanted.
    """
    if prefix and taken >= _MANY[prefix].most:
        return f"a device has at most {_MANY[prefix].most} {_MANY[prefix].called}"
    form = _MANY[prefix].form if prefix else _ONE.get(wanted.section)
    if form is None:
        known = ", ".join((*(f"{one}<name>" for one in _MANY), *_ONE))
        return f"no such section: one of {known} is expected"
    if prefix == COMPOSITIONS and (model := MODELS + wanted.section.removeprefix(prefix)) in sections:
        return f"{model} is wanted as well, and the two would have one name"
    try:
        body = form.model_validate(wanted.body)
    except ValidationError as error:
        return f"its body is not valid: {error.errors(include_url=False)[0]['msg']}"
    return _too_large(body) or body


def _too_large(body: _Body) -> str:
    """Return why a body has no room in a state; empty if it has."""
    most = _MAX_BYTES.get(type(body))
    size = 0 if most is None else len(body.model_dump_json().encode())
    return f"it takes {size} bytes, at most {most} have room in a state" if most is not None and size > most else ""


def _losers(ranked: list[Wanted], winner: Wanted) -> list[Conflict]:
    after = ranked[ranked.index(winner) + 1 :]
    return [
        Conflict(one.section, one.owner, one.kind, winner.owner, f"{winner.kind} by {winner.owner} comes first")
        for one in after
        if one.body != winner.body
    ]
