"""Random devices and queries for the tests of the query language, and what a query means, said a second time.

A device is drawn as flat facts by field (None for what it does not have), from which both a row and the expected answer
are made; the meaning here shares no code with the hub's.
"""

import fnmatch
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from tests.simulators.rows import NOON, make_report

from shoal_contract.ids import new_device_id
from shoal_hub.devices.query import Comparison, Expression, Joined, Not
from shoal_hub.devices.query_fields import OPERATORS, Kind, find_field

Facts = dict[str, Any]
SITES = ("paris", "lyon", "p*", "not", "a b", 'say "hi"', "it's", "back\\slash", "Zürich", "3", "10", "-2.5", "")
MODELS = ("Raspberry Pi 5", "Orin")
FACTS: dict[str, tuple[Any, ...]] = {
    "name": ("kitchen", "garden", "kitchen-2"),
    "group": ("", "greenhouse", "shed"),
    "tags.site": (None, *SITES),
    "tags.a.b-c": (None, "x"),
    "presence": ("online", "offline", "never"),
    "last_seen": (None, 0, 30, 600, 86_400),
    "certificate_expires": (None, -60, 600, 86_400),
    "hardware.kind": ("raspberry-pi", "jetson"),
    "hardware.model": MODELS,
    "hardware.cores": (1, 4, 8),
    "hardware.memory_bytes": (2**29, 2**30),
    "hardware.l4t": (None, "36.4.0", "36.10", "odd"),
    "agent_version": (None, "0.2.0", "0.10.0rc1", "0.10.0"),
    "targets": ((), ("pi4-litert-int8",), ("pi4-litert-int8", "generic-onnx-int8")),
    "datasets.colours": (None, 0, 40),
    "models.digits.version": (None, 1, 3, 12),
    "models.digits.state": (None, "applied", "failed"),
}
VALUES: dict[str, tuple[str, ...]] = {
    "last_seen": ("10m", "1d", "0s"),
    "certificate_expires": ("5m", "2w"),
    "hardware.cores": ("4", "1", "7.5"),
    "hardware.memory_bytes": ("512MiB", "1GiB", "600000000"),
    "datasets.colours": ("0", "40", "-1"),
    "models.digits.version": ("3", "2", "12.0"),
    "hardware.l4t": ("36.4.0", "36.5"),
    "agent_version": ("0.10.0", "0.3"),
    "models.digits.state": ("applied", "failed", "held"),
}
_SIZES = {"512MiB": 2**29, "1GiB": 2**30}
_DURATIONS = {"10m": 600, "1d": 86_400, "0s": 0, "5m": 300, "2w": 14 * 86_400}
_VERSIONS = {"36.4.0": 364.0, "36.5": 365.0, "36.10": 370.0, "0.2.0": 2, "0.3": 3, "0.10.0rc1": 9.5, "0.10.0": 10}


@dataclass(frozen=True)
class Drawn:
    """A device by its facts."""

    facts: Facts

    def columns(self) -> dict[str, Any]:
        """Return the columns of `Device` that say the same, as enrolment and the device's report would."""
        facts = self.facts
        tags = {one.removeprefix("tags."): facts[one] for one in facts if one.startswith("tags.")}
        ages = {"last_seen_at": facts["last_seen"], "certificate_expires_at": facts["certificate_expires"]}
        ages["last_seen_at"] = None if ages["last_seen_at"] is None else -ages["last_seen_at"]
        hardware = {one.removeprefix("hardware."): facts[one] for one in facts if one.startswith("hardware.")}
        hardware["architecture"] = "aarch64"
        return {
            "name": facts["name"],
            "group": facts["group"],
            "tags": {name: value for name, value in tags.items() if value is not None},
            "presence": facts["presence"],
            **{name: None if at is None else NOON + timedelta(seconds=at) for name, at in ages.items()},
            "hardware": hardware,
            "reported": self._reported(hardware) if facts["agent_version"] else None,
        }

    def _reported(self, hardware: Facts) -> Facts:
        version, state = self.facts["models.digits.version"], self.facts["models.digits.state"]
        slot = {"version": version, "target": "pi4-litert-int8", "sha256": "0" * 64, "state": "good"}
        colours = self.facts["datasets.colours"]
        return make_report(
            agent_version=self.facts["agent_version"],
            hardware=hardware,
            targets=self.facts["targets"],
            datasets={} if colours is None else {"colours": colours},
            models={} if version is None else {"digits": {"active": slot}},
            sections={} if state is None else {"models/digits": {"state": state}},
        ).model_dump(mode="json")

    def says(self, field: str) -> Any:
        """Return the fact as far as the hub has heard of it: without a report it knows what enrolment told."""
        told_at_enrolment = not field.startswith(("models.", "datasets.", "targets", "agent_version"))
        return self.facts[field] if told_at_enrolment or self.facts["agent_version"] else None


devices = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FACTS.items()}).map(Drawn)


@st.composite
def comparisons(draw: st.DrawFn, names: tuple[str, ...] = tuple(FACTS)) -> Comparison:
    """Draw one comparison of these fields that the language allows."""
    field = find_field(draw(st.sampled_from(names)))
    assert field is not None
    symbol = draw(st.sampled_from(OPERATORS[field.kind]))
    if symbol == "~" and field.kind is not Kind.NUMBER:
        return Comparison(field, symbol, (draw(st.sampled_from(("*", "p*", "*-litert-*", "?", "kitchen*", "0.1*"))),))
    known = VALUES.get(field.name) or field.words or tuple(one for one in FACTS[field.name] if one is not None)
    if field.name == "targets":
        known = ("pi4-litert-int8", "generic-onnx-int8", "none")
    if symbol in {"<", "<=", ">", ">="} and field.kind is Kind.TAG:
        known = ("3", "10", "-2.5")
    count = draw(st.integers(1, 3)) if symbol == "in" else 1
    return Comparison(field, symbol, tuple(draw(st.sampled_from(known)) for _ in range(count)))


def _wider(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    joined = st.builds(Joined, st.sampled_from(("and", "or")), st.lists(parts, min_size=2, max_size=4).map(tuple))
    return st.builds(Not, parts) | joined


expressions: st.SearchStrategy[Expression] = st.recursive(comparisons(), _wider, max_leaves=12)


in_sql: st.SearchStrategy[Expression] = st.recursive(
    comparisons(("name", "group", "presence", "hardware.cores")), _wider, max_leaves=4
)
"""Expressions most of which the database could decide as well, so that it is seen where it may not."""


def means(expression: Expression, device: Drawn) -> bool:
    """Return whether a device matches, by the meaning of the words."""
    if isinstance(expression, Not):
        return not means(expression.part, device)
    if isinstance(expression, Joined):
        answers = [means(part, device) for part in expression.parts]
        return False not in answers if expression.word == "and" else True in answers
    has = device.says(expression.field.name)
    if expression.operator == "!=":
        return not _compares(expression, "=", has)
    return _compares(expression, expression.operator, has)


def _compares(one: Comparison, symbol: str, has: Any) -> bool:
    if has is None:
        return False
    if symbol in {"=", "in"}:
        if one.field.kind is Kind.NUMBER:
            return has in [_SIZES.get(value) or float(value) for value in one.values]
        return bool(set(one.values) & set(has)) if isinstance(has, tuple) else has in one.values
    if symbol == "~":
        texts = has if isinstance(has, tuple) else (has,)
        return any(fnmatch.fnmatchcase(text, one.values[0]) for text in texts)
    left, right = _ordered(one, has), _ordered(one, one.values[0])
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[symbol]


def _ordered(one: Comparison, value: Any) -> float | None:
    if one.field.kind is Kind.VERSION:
        return _VERSIONS.get(value)
    if not isinstance(value, str):
        return float(value)
    if value in _DURATIONS or value in _SIZES:
        return float(_DURATIONS.get(value, _SIZES.get(value, 0)))
    try:
        return float(value)
    except ValueError:
        return None


def identified(drawn: Drawn) -> dict[str, Any]:
    """Return a device's columns with a new id, as a database needs them."""
    return {"device_id": new_device_id(), **drawn.columns()}
