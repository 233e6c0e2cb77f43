"""Desired state: its order, its expiry and the limits of what it may ask."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tests.contract.golden_enrolment import NOON
from tests.contract.golden_messages import desired_state

from shoal_contract.desired import DesiredState, HandoverPeer
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_ENVELOPE_BYTES, MAX_SITE_MEMBERS
from shoal_contract.wire import parse_message


def _read(change: Any) -> DesiredState:
    document = json.loads(desired_state().to_bytes())
    change(document)
    return parse_message(DesiredState, json.dumps(document).encode(), MAX_ENVELOPE_BYTES)


def test_a_newer_director_key_outranks_every_generation_of_an_older_one() -> None:
    old = desired_state().model_copy(update={"epoch": 1, "generation": 2**62})
    new = desired_state().model_copy(update={"epoch": 2, "generation": 1})
    assert new.order > old.order


def test_a_state_expires_at_its_expiry_and_not_before() -> None:
    state = desired_state()
    expiry = NOON + timedelta(days=30)
    assert not state.is_expired(expiry - timedelta(microseconds=1))
    assert state.is_expired(expiry)


def test_sections_that_are_left_out_ask_for_nothing() -> None:
    bare = _read(lambda document: [document.pop(section) for section in ("models", "federated", "config")])
    assert (bare.models, bare.federated, bare.config.heartbeat_s) == ({}, {}, 60.0)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("models", "version", 0),
        ("models", "target", "../x"),
        ("models", "manifest", {"sha256": "a" * 64, "size_bytes": 2**40}),
        ("federated", "learning_rate", 0),
        ("federated", "epochs", 10**6),
        ("federated", "update_scheme", "pickle"),
        ("federated", "max_update_bytes", 2**40),
        ("federated", "deadline_at", "soon"),
    ],
)
def test_a_section_that_asks_for_the_impossible_is_refused(section: str, field: str, value: object) -> None:
    def change(document: dict[str, Any]) -> None:
        next(iter(document[section].values()))[field] = value

    with pytest.raises(MessageError, match=f"reading DesiredState: {section}.*{field}"):
        _read(change)


@pytest.mark.parametrize("field", ["device_id", "epoch", "generation", "issued_at", "expires_at"])
def test_a_state_without_addressee_order_or_times_is_refused(field: str) -> None:
    with pytest.raises(MessageError, match=field):
        _read(lambda document: document.pop(field))


def test_a_device_is_not_asked_for_more_models_than_it_may_hold() -> None:
    def change(document: dict[str, Any]) -> None:
        document["models"] = {f"m{number}": document["models"]["digits"] for number in range(65)}

    with pytest.raises(MessageError, match="at most 64"):
        _read(change)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cache", "../x"),
        ("host", "cache.lan/path"),
        ("host", "user@cache.lan"),
        ("host", ""),
        ("port", 0),
        ("port", 65_536),
        ("members", ["d-" + "a" * 16] * (MAX_SITE_MEMBERS + 1)),
        ("members", ["everybody"]),
    ],
)
def test_a_site_that_cannot_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(MessageError, match=f"reading DesiredState: site.{field}"):
        _read(lambda document: document["site"].update({field: value}))


@pytest.mark.parametrize("host", ["192.168.7.20", "fd00::7:20", "::1", "cache.lan", "pi-4"])
def test_a_site_takes_names_and_addresses_of_both_families(host: str) -> None:
    assert _read(lambda document: document["site"].update(host=host)).site.host == host  # type: ignore[union-attr]


def test_a_state_without_a_site_names_nobody_else() -> None:
    assert b"site" not in desired_state().model_copy(update={"site": None}).to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"device": "d-abcdefgh234567ab", "certificate_sha256": "e" * 64},
        {"certificate_sha256": "e"},
        {"device": "x"},
    ],
)
def test_who_takes_requests_is_a_device_or_a_certificate(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        HandoverPeer.model_validate({"host": "10.0.0.5", "port": 8473} | changes)
