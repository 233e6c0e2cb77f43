"""The wire form of every message, byte by byte: agents in the field speak it, so it changes on purpose or never."""

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.contract.golden_messages import DIRECTOR, ENVELOPES, MESSAGES, desired_state, wire_bytes

import shoal_contract
from shoal_contract.envelope import DESIRED_STATE_TYPE, verify
from shoal_contract.errors import MessageError
from shoal_contract.sealable_file import SealableFile
from shoal_contract.wire import WireMessage, WireValue, parse_message

GOLDEN = Path(__file__).parent / "golden"
KEYS = {"director-1": DIRECTOR.public_key()}


@pytest.mark.parametrize("name", sorted([*MESSAGES, *ENVELOPES]))
def test_message_becomes_exactly_the_bytes_of_its_golden_file(name: str) -> None:
    """To add or replace a file deliberately: `python -m tests.contract.write_golden --help`."""
    assert wire_bytes(name) == (GOLDEN / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_golden_file_reads_back_as_the_message(name: str) -> None:
    golden = MESSAGES[name]
    data = (GOLDEN / f"{name}.json").read_bytes()
    message = parse_message(golden.kind, data, golden.max_bytes)
    assert message == golden.message
    assert message.to_bytes() == data


@pytest.mark.parametrize(
    ("name", "payload_type", "payload"),
    [
        ("envelope-desired-state", DESIRED_STATE_TYPE, desired_state().to_bytes()),
    ],
)
def test_golden_envelope_still_verifies(name: str, payload_type: str, payload: bytes) -> None:
    verified = verify((GOLDEN / f"{name}.json").read_bytes(), payload_type, KEYS, 10_000)
    assert verified.payload == payload
    assert verified.key_id == "director-1"


def test_no_golden_file_is_left_without_its_message() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*MESSAGES, *ENVELOPES}


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_newer_sender_s_unknown_fields_are_ignored_at_every_level(name: str) -> None:
    golden = MESSAGES[name]
    newer = _with_unknown_fields(golden.message, json.loads(golden.message.to_bytes()))
    assert b"field_of_tomorrow" in newer
    assert parse_message(golden.kind, newer, len(newer)) == golden.message


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_later_schema_version_is_refused_and_the_error_says_what_to_do(name: str) -> None:
    golden = MESSAGES[name]
    later = golden.message.to_bytes().replace(b'"schema_version":1', b'"schema_version":2', 1)
    with pytest.raises(MessageError, match=r"schema_version: .*version 2 found, at most 1 understood; update"):
        parse_message(golden.kind, later, golden.max_bytes)


def test_every_class_of_the_wire_is_pinned_by_a_golden_file() -> None:
    pinned = set[type]()
    for golden in MESSAGES.values():
        pinned |= set(_classes_in(golden.message))
    assert _wire_classes() - pinned == set()


def test_every_optional_field_is_pinned_by_a_golden_file() -> None:
    """A field that no example sets could be renamed without a golden file noticing."""
    unset = {f"{kind.__name__}.{field}" for kind in _wire_classes() for field in kind.model_fields}
    for golden in MESSAGES.values():
        unset -= set(_set_fields(golden.message))
    assert unset == set()


def _wire_classes() -> set[type[WireValue]]:
    for module in pkgutil.iter_modules(shoal_contract.__path__):
        importlib.import_module(f"shoal_contract.{module.name}")
    found: set[type[WireValue]] = set()
    todo: list[type[WireValue]] = [WireValue]
    while todo:
        todo += [kind for kind in todo.pop().__subclasses__() if kind.__module__.startswith("shoal_contract.")]
        found |= set(todo)
    return found - {WireMessage, SealableFile}  # bases alone: their fields are pinned in each class that has them


def _nested(message: BaseModel) -> list[BaseModel]:
    """The message and every model in it."""
    return [message, *(inner for _, value in message for inner in _models_in(value))]


def _models_in(value: Any) -> list[BaseModel]:
    if isinstance(value, BaseModel):
        return _nested(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [inner for part in parts for inner in _models_in(part)]


def _classes_in(message: BaseModel) -> list[type]:
    return [type(inner) for inner in _nested(message)]


def _set_fields(message: BaseModel) -> list[str]:
    return [
        f"{type(inner).__name__}.{field}"
        for inner in _nested(message)
        for field, value in inner
        if value is not None and (value or type(inner).model_fields[field].is_required())
    ]


def _with_unknown_fields(message: BaseModel, document: Any) -> bytes:
    _add_unknown(message, document)
    return json.dumps(document).encode()


def _add_unknown(value: Any, document: Any) -> None:
    """Add a field to every object that stands for a model (in a mapping by name it would be an entry)."""
    if isinstance(value, BaseModel):
        for field, inner in value:
            if inner is not None:
                _add_unknown(inner, document[field])
        document["field_of_tomorrow"] = {"nested": [1, None]}
    elif isinstance(value, dict):
        for key, inner in value.items():
            _add_unknown(inner, document[key])
    elif isinstance(value, tuple):
        for inner, part in zip(value, document, strict=True):
            _add_unknown(inner, part)
