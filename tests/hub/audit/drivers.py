"""How each route that changes something is driven once, with what its entry in the audit trail is about."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from tests.hub.audit.alert_drivers import ALERTS
from tests.hub.audit.assigned_drivers import ASSIGNED
from tests.hub.audit.automation_drivers import AUTOMATION
from tests.hub.audit.compression_drivers import COMPRESSION
from tests.hub.audit.inference_drivers import INFERENCE
from tests.hub.audit.job_drivers import JOBS
from tests.hub.audit.site import TARGET, Site
from tests.hub.devices.requests_of import (
    ask,
    enrolled,
    fingerprint,
    make_csr,
    new_key,
    new_token,
    renew,
    renewal,
)
from tests.hub.registry.bundles import post_bundle, write_bundle
from tests.simulators.rows import make_report

from shoal_client.tuf import SigningRequest
from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.api import create_app
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.trust.offline import Plan, make_ceremony, open_signers, read_ceremony, sign_request

TYPED = b"a passphrase that somebody has typed"
READS_ONLY = {"GET", "HEAD", "OPTIONS"}
ASKS_ONLY = {("POST", "/api/v1/rollouts/plan"), ("POST", "/api/v1/automation/dry-run")}
TELLS_ONLY = {("POST", "/api/v1/alerts/channels/{name}/test")}
"""A message goes out, and who had it sent is noted; nothing is different afterwards."""
"""Routes that take a body and change nothing."""


def _enrol(site: Site) -> Callable[[], Any]:
    token = new_token(site.client)
    return lambda: ask(site.client, token).raise_for_status()


def _renew(site: Site) -> Callable[[], Any]:
    key = new_key()
    envelope = renewal(enrolled(site.client, key), key, make_csr())
    return lambda: renew(site.client, envelope).raise_for_status()


def _withdraw(site: Site) -> Callable[[], Any]:
    key = "0" * 64
    site.send("POST", "/authorised-keys", json={"keys": [{"key_sha256": key}]})
    return lambda: site.client.delete(f"/api/v1/authorised-keys/{key}").raise_for_status()


def _decide(word: str) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        key = new_key()
        settings = site.hub.settings.model_copy(update={"enrol_by_hand": True})
        waiting = TestClient(create_app(replace(site.hub, settings=settings)))
        assert ask(waiting, csr=make_csr(key)).status_code == 202
        return lambda: site.send("POST", f"/enrolments/{fingerprint(key)}/{word}", json={})

    return prepare


def _rotate(*steps: str) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        for step in steps[:-1]:
            site.send("POST", f"/trust/ca/{step}", json={})
        return lambda: site.send("POST", f"/trust/ca/{steps[-1]}", json={})

    return prepare


def _after_rollout(command: str, before: str = "") -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        rollout = site.rollout()
        if before:
            site.send("POST", f"/rollouts/{rollout}/{before}")
        return lambda: site.send("POST", f"/rollouts/{rollout}/{command}")

    return prepare


def _approve_wave(site: Site) -> Callable[[], Any]:
    plan = {"model": "digits", "version": "1", "waves": [1, 1], "wave_approval": True}
    rollout = site.send("POST", "/rollouts", json=plan)["id"]
    with site.hub.database.transaction() as session:
        row = session.get_one(Rollout, rollout)
        row.wave_ended_at = utc_now()
        session.add(row)
    return lambda: site.send("POST", f"/rollouts/{rollout}/approve")


def _revoke(site: Site) -> Callable[[], Any]:
    token = site.send("POST", "/tokens", json={})["id"]
    return lambda: site.send("DELETE", f"/tokens/{token}")


def _lan(site: Site) -> dict[str, Any]:
    cache, member = site.devices
    return {"cache": cache, "host": "192.168.7.20", "members": [member]}


def _make_site(site: Site) -> Callable[[], Any]:
    return lambda: site.send("POST", "/sites", json=_lan(site) | {"name": "warehouse"})


def _of_a_site(method: str, **changes: Any) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        _make_site(site)()
        return lambda: site.send(method, "/sites/warehouse", json=_lan(site) | changes)

    return prepare


def _hand_over(method: str) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        _make_site(site)()
        path = "/sites/warehouse/handover"
        peers = [{"host": "10.0.0.5", "port": 8473, "certificate_sha256": "e" * 64}]
        site.send("PUT", path, json={"peers": peers, "patience_ms": 20})
        return lambda: site.send(method, path, json={"peers": peers})

    return prepare


def _pin(site: Site) -> Callable[[], Any]:
    return lambda: site.send("PUT", f"/devices/{site.devices[0]}/pins/digits", json={"version": "1"})


def _unpin(site: Site) -> Callable[[], Any]:
    path = f"/devices/{site.devices[0]}/pins/digits"
    site.send("PUT", path, json={"version": "1"})
    return lambda: site.client.delete(f"/api/v1{path}").raise_for_status()


def _try(site: Site) -> Callable[[], Any]:
    serving = ModelReport(active=SlotReport(version=1, target=TARGET, sha256="0" * 64, state="good"))
    report = make_report(models={"digits": serving}).model_dump(mode="json")
    with site.hub.database.transaction() as session:
        for device_id in site.devices:
            session.get_one(Device, device_id).reported = report
    return lambda: site.send("POST", "/trials", json={"model": "digits", "version": "2"})


def _stop_trial(site: Site) -> Callable[[], Any]:
    trial = _try(site)()["id"]
    return lambda: site.send("POST", f"/trials/{trial}/stop")


def _of_a_group(method: str, **body: Any) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        site.send("POST", "/groups", json={"name": "canaries", "devices": site.devices[:1]})
        return lambda: site.send(method, "/groups/canaries", json=body)

    return prepare


def _limit_group(site: Site) -> Callable[[], Any]:
    site.send("POST", "/groups", json={"name": "canaries"})
    return lambda: site.send("PUT", "/limits/groups/canaries", json={"max_bytes_per_month": 10**9})


def _stop(site: Site) -> Callable[[], Any]:
    run = site.federated_run()
    return lambda: site.send("POST", f"/federated/{run}/stop")


def _start_federated(site: Site) -> Callable[[], Any]:
    return site.federated_run


def _register(site: Site) -> Callable[[], Any]:
    folder = write_bundle(site.folder / "bundle")
    return lambda: post_bundle(site.client, folder).raise_for_status()


def _send(method: str, path: str, **body: Any) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        return lambda: site.send(method, path.replace("{device}", site.devices[0]), json=body)

    return prepare


def _revoke_operator_token(site: Site) -> Callable[[], Any]:
    body = {"user": "ada", "label": "ci", "role": "viewer"}
    token = site.send("POST", "/operator-tokens", json=body)["id"]
    return lambda: site.send("DELETE", f"/operator-tokens/{token}")


def _of_a_user(method: str, path: str, **body: Any) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        site.send("POST", "/users", json={"name": "grace", "role": "viewer"})
        return lambda: site.send(method, path, json=body)

    return prepare


def _answer(verb: str) -> Callable[[Site], Callable[[], Any]]:
    """Somebody else wants to start a rollout that the model's policy asks an approval for."""

    def prepare(site: Site) -> Callable[[], Any]:
        site.send("PUT", "/models/digits/approval-policy", json={"rollout": 1})
        with site.hub.database.transaction() as session:
            token = create_operator_token(session, "grace", Role.OPERATOR)
        asked = site.send(
            "POST",
            "/rollouts",
            json={"model": "digits", "version": "1"},
            headers={"Authorization": f"Bearer {token}"},
        )
        approval = site.send("GET", f"/approvals/{asked['id']}")
        body = {"content_sha256": approval["content_sha256"]} if verb == "approve" else {}
        return lambda: site.send("POST", f"/approvals/{asked['id']}/{verb}", json=body)

    return prepare


def _ceremony(site: Site) -> Path:
    """Have a person make offline keys in the place of the hub's, which then wait for those keys' signatures."""
    folder = site.folder / "ceremony"
    make_ceremony(folder, TYPED, Plan(root_keys=1, root_threshold=1, targets_keys=1, code_keys=1))
    root, targets = read_ceremony(folder)
    site.send("POST", "/trust/rotations", json={"role": "offline", "root": root, "targets": targets})
    return folder / "keys"


def _sign_staged(site: Site) -> Callable[[], Any]:
    keys = _ceremony(site)
    request = SigningRequest.model_validate(site.send("GET", "/trust/staged"))
    signed, _ = sign_request(request, open_signers(keys, TYPED))
    return lambda: site.send("POST", "/trust/staged", json=signed.model_dump(mode="json"))


def _discard_staged(site: Site) -> Callable[[], Any]:
    _ceremony(site)
    return lambda: site.send("DELETE", "/trust/staged")


# What each route is driven by: a preparation that returns the one request. The key is the route as OpenAPI names it.
DRIVEN: dict[tuple[str, str], tuple[Callable[[Site], Callable[[], Any]], str, str]] = {
    ("POST", "/api/v1/enrol"): (_enrol, "devices.enrol_device", "devices/d-"),
    ("POST", "/api/v1/tokens"): (
        _send("POST", "/tokens", label="x"),
        "devices.create_enrolment_token",
        "enrolment_tokens/et-",
    ),
    ("DELETE", "/api/v1/tokens/{token_id}"): (_revoke, "devices.revoke_enrolment_token", "tokens/et-"),
    ("POST", "/api/v1/renew"): (_renew, "devices.renew_certificate", "device_certificates/[0-9a-f]+"),
    ("POST", "/api/v1/authorised-keys"): (
        _send("POST", "/authorised-keys", keys=[{"key_sha256": "0" * 64}]),
        "devices.authorise",
        "authorised_keys/0{64}",
    ),
    ("DELETE", "/api/v1/authorised-keys/{key_sha256}"): (_withdraw, "devices.withdraw", "authorised-keys/0{64}"),
    ("POST", "/api/v1/enrolments/{key_sha256}/accept"): (
        _decide("accept"),
        "devices.accept_enrolment",
        "enrolments/[0-9a-f]{64}",
    ),
    ("POST", "/api/v1/enrolments/{key_sha256}/reject"): (
        _decide("reject"),
        "devices.reject_enrolment",
        "enrolments/[0-9a-f]{64}",
    ),
    ("POST", "/api/v1/trust/ca/announce"): (_rotate("announce"), "trust.announce", "trust/ca"),
    ("POST", "/api/v1/trust/ca/switch"): (_rotate("announce", "switch"), "trust.switch", "trust/ca"),
    ("POST", "/api/v1/trust/ca/finish"): (
        _rotate("announce", "switch", "finish"),
        "trust.finish",
        "trust/ca",
    ),
    ("PATCH", "/api/v1/devices/{device_id}"): (
        _send("PATCH", "/devices/{device}", name="new"),
        "devices.update_device",
        "devices/d-",
    ),
    ("PUT", "/api/v1/devices/{device_id}/config"): (
        _send("PUT", "/devices/{device}/config", heartbeat_s=30),
        "devices.configure_device",
        "devices/d-",
    ),
    ("POST", "/api/v1/devices/{device_id}/revoke"): (
        _send("POST", "/devices/{device}/revoke", reason="stolen"),
        "devices.revoke_device",
        "devices/d-",
    ),
    ("POST", "/api/v1/devices/{device_id}/decommission"): (
        _send("POST", "/devices/{device}/decommission"),
        "devices.decommission_device",
        "devices/d-",
    ),
    ("POST", "/api/v1/trials"): (_try, "trials.create_trial", "trials/t-"),
    ("POST", "/api/v1/trials/{trial_id}/stop"): (_stop_trial, "trials.stop_trial", "trials/t-"),
    ("PUT", "/api/v1/devices/{device_id}/pins/{model}"): (_pin, "pins.pin_device", "devices/d-.*/pins/digits"),
    ("DELETE", "/api/v1/devices/{device_id}/pins/{model}"): (_unpin, "pins.unpin_device", "devices/d-.*/pins/digits"),
    ("POST", "/api/v1/groups"): (
        _send("POST", "/groups", name="canaries", query="presence = online"),
        "devices.add_group",
        "device_groups/canaries",
    ),
    ("PATCH", "/api/v1/groups/{name}"): (
        _of_a_group("PATCH", description="first to get a version"),
        "devices.update_group",
        "groups/canaries",
    ),
    ("DELETE", "/api/v1/groups/{name}"): (_of_a_group("DELETE"), "devices.end_group", "groups/canaries"),
    ("PUT", "/api/v1/limits/fleet"): (
        _send("PUT", "/limits/fleet", max_bytes_per_month=10**9),
        "traffic.limit_fleet",
        "transfer_limits/fleet,",
    ),
    ("PUT", "/api/v1/limits/groups/{name}"): (
        _limit_group,
        "traffic.limit_group",
        "limits/groups/canaries",
    ),
    ("PUT", "/api/v1/limits/devices/{device_id}"): (
        _send("PUT", "/limits/devices/{device}", max_fetch_bytes_per_s=10_000),
        "traffic.limit_device",
        "limits/devices/d-",
    ),
    ("POST", "/api/v1/sites"): (_make_site, "sites.add_site", "sites/warehouse"),
    ("PUT", "/api/v1/sites/{name}"): (_of_a_site("PUT", members=[]), "sites.set_site", "sites/warehouse"),
    ("DELETE", "/api/v1/sites/{name}"): (_of_a_site("DELETE"), "sites.end_site", "sites/warehouse"),
    ("PUT", "/api/v1/sites/{name}/handover"): (_hand_over("PUT"), "sites.put_handover", "sites/warehouse"),
    ("DELETE", "/api/v1/sites/{name}/handover"): (_hand_over("DELETE"), "sites.end_handover", "sites/warehouse"),
    **ALERTS,
    **ASSIGNED,
    **COMPRESSION,
    **INFERENCE,
    **JOBS,
    **AUTOMATION,
    ("PATCH", "/api/v1/models/{name}"): (
        _send("PATCH", "/models/colours", description="new"),
        "registry.update_model",
        "models/colours",
    ),
    ("POST", "/api/v1/models/{name}/versions"): (_register, "registry.register_version", "models/colours"),
    ("PUT", "/api/v1/models/{name}/aliases/{alias}"): (
        _send("PUT", "/models/colours/aliases/best", number=1),
        "registry.move_alias",
        "models/colours/aliases/best",
    ),
    ("POST", "/api/v1/models/{name}/versions/{number}/stage"): (
        _send("POST", "/models/colours/versions/1/stage", stage="staging"),
        "registry.move_stage",
        "models/colours/versions/1",
    ),
    ("POST", "/api/v1/models/{name}/versions/{number}/encrypt"): (
        _send("POST", "/models/colours/versions/1/encrypt"),
        "registry.encrypt_version",
        "models/colours/versions/1",
    ),
    ("POST", "/api/v1/models/{name}/versions/{number}/compress"): (
        _send("POST", "/models/colours/versions/1/compress"),
        "registry.compress_version",
        "models/colours/versions/1",
    ),
    ("POST", "/api/v1/rollouts"): (
        _send("POST", "/rollouts", model="digits", version="1"),
        "rollouts.create_rollout",
        "rollouts/r-",
    ),
    ("POST", "/api/v1/rollouts/{rollout_id}/pause"): (
        _after_rollout("pause"),
        "rollouts.pause_rollout",
        "rollouts/r-",
    ),
    ("POST", "/api/v1/rollouts/{rollout_id}/resume"): (
        _after_rollout("resume", "pause"),
        "rollouts.resume_rollout",
        "rollouts/r-",
    ),
    ("POST", "/api/v1/rollouts/{rollout_id}/abort"): (
        _after_rollout("abort"),
        "rollouts.abort_rollout",
        "rollouts/r-",
    ),
    ("POST", "/api/v1/rollouts/{rollout_id}/approve"): (_approve_wave, "rollouts.approve_wave", "rollouts/r-"),
    ("POST", "/api/v1/rollouts/{rollout_id}/forward"): (
        _after_rollout("forward", "abort"),
        "rollouts.roll_forward",
        "rollouts/r-",
    ),
    ("POST", "/api/v1/rollouts/{rollout_id}/rollback"): (
        _after_rollout("rollback"),
        "rollouts.roll_back_rollout",
        "rollouts/r-",
    ),
    ("POST", "/api/v1/users"): (
        _send("POST", "/users", name="grace", role="viewer"),
        "operators.create_user",
        "users/u-",
    ),
    ("PATCH", "/api/v1/users/{name}"): (
        _of_a_user("PATCH", "/users/grace", role="operator"),
        "operators.update_user",
        "users/grace",
    ),
    ("PUT", "/api/v1/users/{name}/password"): (
        _of_a_user("PUT", "/users/grace/password", password="correct horse battery"),
        "operators.reset_password",
        "users/grace",
    ),
    ("POST", "/api/v1/operator-tokens"): (
        _send("POST", "/operator-tokens", user="ada", label="ci", role="viewer"),
        "operators.create_operator_token",
        "operator_tokens/op-",
    ),
    ("DELETE", "/api/v1/operator-tokens/{token_id}"): (
        _revoke_operator_token,
        "operators.revoke_operator_token",
        "operator-tokens/op-",
    ),
    ("PUT", "/api/v1/models/{name}/approval-policy"): (
        _send("PUT", "/models/digits/approval-policy", production=1, rollout=2),
        "approvals.set_approval_policy",
        "models/digits",
    ),
    ("POST", "/api/v1/approvals/{approval_id}/approve"): (_answer("approve"), "approvals.approve", "approvals/ap-"),
    ("POST", "/api/v1/approvals/{approval_id}/reject"): (_answer("reject"), "approvals.reject", "approvals/ap-"),
    ("POST", "/api/v1/trust/rotations"): (
        _send("POST", "/trust/rotations", role="timestamp"),
        "trust.rotate_keys",
        "trust.*",
    ),
    ("POST", "/api/v1/trust/staged"): (_sign_staged, "trust.sign_staged", "trust.*"),
    ("DELETE", "/api/v1/trust/staged"): (_discard_staged, "trust.discard_staged", "trust.*"),
    ("POST", "/api/v1/federated"): (_start_federated, "federation.start", "federated_runs/f-"),
    ("POST", "/api/v1/federated/{run_id}/stop"): (_stop, "federation.stop", "federated/f-"),
}
