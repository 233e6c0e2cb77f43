"""Intents of many devices at once: what they replace, in which order they stand, and which states are stale by them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select
from tests.simulators.rows import NOON, add_device

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_hub.audit.requests import _request, watch_request
from shoal_hub.database import Database
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.intents import mark_all_stale, replace_intents, set_intent
from shoal_hub.devices.tables import Intent, IntentKind

SECTION = "models/digits"
MANIFEST = ArtifactRef(sha256="0" * 64, size_bytes=1)


@pytest.fixture(params=["by the hub itself", "in a request"])
def anyhow(request: pytest.FixtureRequest, database: Database) -> Iterator[Database]:
    """A database whose transactions are watched row by row, and one where nobody does."""
    if request.param == "by the hub itself":
        yield database
        return
    database.on_begin = watch_request
    token = _request.set({"type": "http", "path": "/api/v1/x", "client": ("192.0.2.1", 1)})
    yield database
    _request.reset(token)


def body(version: int) -> DesiredModel:
    return DesiredModel(version=version, target="any", manifest=MANIFEST, deployment=f"dp-{version}")


def replace(session: Session, kind: IntentKind, wanted: dict[str, DesiredModel], **more: Any) -> None:
    replace_intents(
        session, SECTION, kind=kind, owner="me", bodies=wanted, replaces=("rollout", "rollback"), now=NOON, **more
    )


def standing(database: Database) -> list[dict[str, Any]]:
    with database.session() as session:
        return [row.model_dump(exclude={"id"}) for row in session.exec(select(Intent).order_by(col(Intent.id)))]


def stale(database: Database) -> list[str]:
    with database.session() as session:
        return sorted(session.exec(select(StaleDesired.device_id)))


def test_intents_of_many_devices_take_the_place_of_their_owners_and_of_those_kinds(anyhow: Database) -> None:
    with anyhow.transaction() as session:
        first, second, third = sorted(add_device(session).id for _ in range(3))
        for one, kind, owner in ((first, "rollout", "other"), (first, "pin", "other"), (second, "ab", "me")):
            set_intent(session, one, SECTION, kind=kind, owner=owner, body=body(1), now=NOON)  # type: ignore[arg-type]
        set_intent(session, third, SECTION, kind="rollout", owner="other", body=body(1), now=NOON)
        replace(session, "rollback", {second: body(3), first: body(2)}, until=NOON + timedelta(hours=1))
    found = standing(anyhow)
    assert [(one["device_id"], one["kind"]) for one in found] == [
        (first, "pin"), (third, "rollout"), (first, "rollback"), (second, "rollback")
    ]  # fmt: skip
    assert found[-1] == {
        "device_id": second, "section": SECTION, "kind": "rollback", "owner": "me", "created_at": NOON,
        "until": NOON + timedelta(hours=1), "body": body(3).model_dump(mode="json") | {"is_urgent": True},
    }  # fmt: skip
    assert stale(anyhow) == [first, second, third]


def test_what_was_urgent_is_no_longer_where_its_kind_is_not(anyhow: Database) -> None:
    with anyhow.transaction() as session:
        device_id = add_device(session).id
        replace(session, "rollout", {device_id: body(1).model_copy(update={"is_urgent": True})})
    assert [one["body"]["is_urgent"] for one in standing(anyhow)] == [False]


def test_each_device_is_marked_once_however_often_it_is_said(anyhow: Database) -> None:
    with anyhow.transaction() as session:
        ids = sorted(add_device(session, name=f"'{number}").id for number in range(3))
        mark_all_stale(session, ids[:2])
        mark_all_stale(session, {*ids[1:]})
        mark_all_stale(session, [])
    assert stale(anyhow) == ids
