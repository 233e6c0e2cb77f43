"""Devices of a site pass requests on: who is told of whom, and what is refused."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.sites.test_sites import Fleet

from shoal_contract.desired import DesiredHandover, HandoverPeer
from shoal_contract.limits import MAX_HANDOVER_PEERS
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device

SERVER = {"host": "10.0.0.5", "port": 8473, "certificate_sha256": "e" * 64}


@pytest.fixture
def fleet(hub: HubContext, client: TestClient) -> Fleet:
    made = Fleet(hub, client)
    made.create(members=made.ids[1:3])
    made.told()
    return made


def peer(device_id: str) -> dict[str, Any]:
    return {"host": "192.168.7.21", "port": 8472, "device": device_id}


def put(fleet: Fleet, *peers: dict[str, Any], patience_ms: int = 50) -> Any:
    return fleet.send("PUT", "/sites/warehouse/handover", peers=peers, patience_ms=patience_ms)


def handover(fleet: Fleet, device_id: str) -> DesiredHandover | None:
    site = fleet.site(device_id)
    return site.handover if site is not None else None


def test_each_device_that_takes_requests_is_told_of_the_others_and_nobody_else_is_told_anything(fleet: Fleet) -> None:
    cache, one, two, outsider = fleet.ids
    assert handover(fleet, cache) is None
    answer = put(fleet, peer(cache), peer(one), SERVER, patience_ms=20)
    assert answer.status_code == 200
    assert answer.json()["handover"]["patience_ms"] == 20
    assert fleet.told() == sorted([cache, one])
    server, others = HandoverPeer.model_validate(SERVER), HandoverPeer.model_validate(peer(one))
    assert handover(fleet, cache) == DesiredHandover(peers=(others, server), patience_ms=20)
    assert handover(fleet, one).peers[0].device == cache  # type: ignore[union-attr]
    assert (handover(fleet, two), fleet.site(outsider)) == (None, None)


def test_ending_it_tells_those_who_took_part(fleet: Fleet) -> None:
    cache, one, *_ = fleet.ids
    put(fleet, peer(cache), peer(one))
    fleet.told()
    ended = fleet.send("DELETE", "/sites/warehouse/handover")
    assert (ended.status_code, ended.json()["handover"]) == (200, None)
    assert fleet.told() == sorted([cache, one])
    assert handover(fleet, cache) is None


def test_a_revoked_device_takes_no_requests_any_more(fleet: Fleet, hub: HubContext) -> None:
    cache, one, two, _ = fleet.ids
    put(fleet, peer(cache), peer(one), peer(two))
    fleet.told()
    with hub.database.transaction() as session:
        revoke(session, session.get_one(Device, one), by="ada", reason="lost", now=utc_now())
    fleet.told()
    assert [other.device for other in handover(fleet, two).peers] == [cache]  # type: ignore[union-attr]


def test_a_site_that_is_replaced_keeps_its_policy(fleet: Fleet) -> None:
    cache, one, *_ = fleet.ids
    put(fleet, peer(cache), peer(one))
    assert fleet.replace(members=[one]).json()["handover"]["peers"][1]["device"] == one


def test_what_can_not_be_is_refused_and_changes_nothing(fleet: Fleet) -> None:
    cache, one, _, outsider = fleet.ids
    assert put(fleet, peer(cache), peer(outsider)).status_code == 409
    assert put(fleet, peer(one), peer(one)).status_code == 422
    assert put(fleet).status_code == 422
    assert put(fleet, {"host": "h", "port": 1}).status_code == 422
    assert put(fleet, *[SERVER] * (MAX_HANDOVER_PEERS + 2)).status_code == 422
    within = [peer(one), *[SERVER] * MAX_HANDOVER_PEERS]
    assert put(fleet, *within).status_code == 200
    fleet.told()
    assert put(fleet, *within[1:], SERVER).status_code == 422
    assert fleet.send("PUT", "/sites/nowhere/handover", peers=[SERVER]).status_code == 404
    assert fleet.told() == []
