"""Every route of the API is tried by who may not call it, whichever routes there are.

A new route that forgets its caller fails here, without anybody adding it to a list.
"""

import re
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from tests.hub.operators.conftest import Person

from shoal_hub.api import API, create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role, Scope
from shoal_hub.operators.tokens import create_operator_token, create_token
from shoal_hub.operators.users import create_user

OPEN = {
    ("GET", f"{API}/health"),
    ("GET", f"{API}/ca.pem"),
    ("POST", f"{API}/enrol"),
    ("POST", f"{API}/renew"),
    ("GET", f"{API}/trust/metadata/{{file}}"),
    ("GET", f"{API}/trust/targets/{{path}}"),
}
FORBIDDEN = 403
STREAM = f"{API}/events/stream"
METRICS = ("GET", "/metrics")
"""Where Prometheus looks for it, and by either of two scopes: tests/hub/observe/test_metrics.py."""
FOR_DEVICES = {
    ("GET", f"{API}/device/artifacts/{{sha256}}"),
    ("GET", f"{API}/device/artifacts/{{sha256}}/chunks"),
}
"""They take a device's signature, and no operator's token."""
FOR_OPERATORS = {
    ("GET", f"{API}/captures/{{capture_id}}/content"),
    ("GET", f"{API}/batches/{{name}}/devices/{{device_id}}/answers"),
}
"""They show what devices have seen, which is not for every viewer."""
FOR_ANY_TOKEN = {("GET", f"{API}/operator")}


def api_routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path under the API: also one that its description would not show."""
    routes = [(route.path or "", route.methods or set()) for route in iter_route_contexts(app.routes)]
    shown = [(re.sub(r":path\}", "}", path), methods) for path, methods in routes if path.startswith(API)]
    return sorted((method, path) for path, methods in shown for method in methods - {"HEAD"})


def check(caller: TestClient, app: FastAPI, expected: int, *, of: set[str] | None = None) -> None:
    """Have a caller try every route but the open ones; only methods `of`, if given."""
    tried = 0
    for method, path in api_routes(app):
        if (method, path) in OPEN | FOR_ANY_TOKEN or path == STREAM or (of is not None and method not in of):
            continue
        if (method, path) in FOR_DEVICES and expected == FORBIDDEN:
            continue
        for text in ("x", "1"):
            answer = caller.request(method, re.sub(r"\{\w+\}", text, path))
            assert answer.status_code == expected, (method, path, answer.text)
        tried += 1
    assert tried >= 15


WRITES = {"POST", "PUT", "PATCH", "DELETE"}


def token_of(hub: HubContext, role: Role, scopes: set[Scope]) -> str:
    with hub.database.transaction() as session:
        user = create_user(session, "root", Role.ADMIN, password=None, by="test", now=utc_now())
        made = create_token(
            session, user, label="", role=role, scopes=scopes, life=timedelta(hours=1), by=None, now=utc_now()
        )
    return made.text


def test_the_description_shows_every_route(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    shown = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert shown == {*api_routes(app), METRICS}


def test_nobody_gets_401_at_every_route(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    with TestClient(app) as nobody:
        check(nobody, app, 401)


def test_a_viewer_gets_403_at_every_route_that_changes_something(sqlite_person: Person, sqlite_hub: HubContext) -> None:
    check(sqlite_person("vera", Role.VIEWER), create_app(sqlite_hub), 403, of=WRITES)


def test_a_viewer_may_look_at_everything(sqlite_person: Person, sqlite_hub: HubContext) -> None:
    viewer = sqlite_person("vera", Role.VIEWER)
    for method, path in api_routes(create_app(sqlite_hub)):
        if method == "GET" and path != STREAM and (method, path) not in FOR_DEVICES:
            answer = viewer.get(re.sub(r"\{\w+\}", "1", path))
            expected = {403} if (method, path) in FOR_OPERATORS else {200, 404, 409, 422}
            assert answer.status_code in expected, (path, answer.text)


def test_an_admins_token_of_a_viewers_role_is_a_viewers(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    token = token_of(sqlite_hub, Role.VIEWER, set(Scope))
    with TestClient(app, headers={"authorization": f"Bearer {token}"}) as caller:
        check(caller, app, 403, of=WRITES)


def test_an_admins_token_that_only_reads_changes_nothing(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    with TestClient(app, headers={"authorization": f"Bearer {token_of(sqlite_hub, Role.ADMIN, {Scope.READ})}"}) as one:
        check(one, app, 403, of=WRITES)
        assert one.get(f"{API}/devices").status_code == 200


def test_a_token_without_the_scope_read_reads_nothing(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    token = token_of(sqlite_hub, Role.ADMIN, set(Scope) - {Scope.READ})
    with TestClient(app, headers={"authorization": f"Bearer {token}"}) as caller:
        check(caller, app, 403, of={"GET"})
        assert caller.get(f"{API}/operator").json()["name"] == "root"


def test_each_scope_opens_its_routes_and_no_other(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    opened: dict[Scope, set[str]] = {}
    for scope in Scope:
        with sqlite_hub.database.transaction() as session:
            user = create_user(session, f"of-{scope}", Role.ADMIN, password=None, by="test", now=utc_now())
            made = create_token(
                session, user, label="", role=Role.ADMIN, scopes={scope}, life=None, by=None, now=utc_now()
            )
        with TestClient(app, headers={"authorization": f"Bearer {made.text}"}) as caller:
            opened[scope] = {
                f"{method} {path.removeprefix(API)}"
                for method, path in api_routes(app)
                if path != STREAM
                and (method, path) not in OPEN | FOR_ANY_TOKEN | FOR_DEVICES
                and caller.request(method, re.sub(r"\{\w+\}", "1", path)).status_code != 403
            }
    assert all(one.startswith("GET ") for one in opened[Scope.READ])
    assert opened[Scope.DEVICES] == {
        "PATCH /devices/{device_id}",
        "PUT /devices/{device_id}/config",
        "POST /devices/{device_id}/revoke",
        "POST /devices/{device_id}/decommission",
        "POST /sites",
        "PUT /sites/{name}",
        "DELETE /sites/{name}",
        "PUT /sites/{name}/handover",
        "DELETE /sites/{name}/handover",
        "PUT /features/{name}",
        "DELETE /features/{name}",
        "PUT /features/{name}/groups/{group}",
        "DELETE /features/{name}/groups/{group}",
        "PUT /features/{name}/devices/{device_id}",
        "DELETE /features/{name}/devices/{device_id}",
        "PUT /online-features/{view}",
        "DELETE /online-features/{view}",
        "PUT /online-features/{view}/values",
        "POST /compositions",
        "PUT /compositions/{name}",
        "DELETE /compositions/{name}",
        "PUT /compositions/{name}/groups/{group}",
        "DELETE /compositions/{name}/groups/{group}",
        "PUT /compositions/{name}/devices/{device_id}",
        "DELETE /compositions/{name}/devices/{device_id}",
        "PUT /capture-requests/{model}",
        "DELETE /capture-requests/{model}",
        "DELETE /captures/{capture_id}",
        "DELETE /captures",
        "POST /batches",
        "POST /batches/{name}/cancel",
        "PUT /alerts/rules/{name}",
        "DELETE /alerts/rules/{name}",
        "POST /alerts/silences",
        "DELETE /alerts/silences/{silence_id}",
        "POST /alerts/{alert_id}/acknowledgement",
        "POST /groups",
        "PATCH /groups/{name}",
        "DELETE /groups/{name}",
        "PUT /limits/fleet",
        "PUT /limits/groups/{name}",
        "PUT /limits/devices/{device_id}",
    }
    assert opened[Scope.ENROL] == {
        "POST /tokens",
        "DELETE /tokens/{token_id}",
        "POST /authorised-keys",
        "DELETE /authorised-keys/{key_sha256}",
        "POST /enrolments/{key_sha256}/accept",
        "POST /enrolments/{key_sha256}/reject",
    }
    deploys = {"POST /rollouts", "POST /trials", "PUT /devices/{device_id}/pins/{model}"}
    deploys |= {"PUT /automation/policies/{name}", "POST /automation/runs/{run_id}/retry"}
    assert deploys <= opened[Scope.ROLLOUTS], "what puts a version on a device is one scope's"
    assert "POST /users" in opened[Scope.ADMIN]
    count = sum(len(one) for one in opened.values())
    assert count == len(set().union(*opened.values())), "no route opens to two scopes"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
def test_only_an_admin_manages_users_tokens_and_policies(sqlite_person: Person, role: Role) -> None:
    caller = sqlite_person("vera", role)
    for method, path in [
        ("POST", "/users"),
        ("PATCH", "/users/vera"),
        ("PUT", "/users/vera/password"),
        ("POST", "/operator-tokens"),
        ("DELETE", "/operator-tokens/op-x"),
        ("PUT", "/models/digits/approval-policy"),
    ]:
        assert caller.request(method, API + path).status_code == 403, (method, path)


def test_every_route_documents_what_its_guard_answers(sqlite_hub: HubContext) -> None:
    for path, methods in create_app(sqlite_hub).openapi()["paths"].items():
        for method, operation in methods.items():
            if (method.upper(), path) in OPEN:
                continue
            assert "401" in operation["responses"], (method, path)
            assert "403" in operation["responses"] or (method.upper(), path) in FOR_ANY_TOKEN, (method, path)


def test_every_route_with_a_body_documents_what_a_body_can_be_refused_for(sqlite_hub: HubContext) -> None:
    for path, methods in create_app(sqlite_hub).openapi()["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                assert {"400", "413", "422"} <= set(operation["responses"]), (method, path)


def test_the_caller_is_left_with_the_request_for_whoever_notes_what_changed(sqlite_hub: HubContext) -> None:
    from fastapi import Request

    from shoal_hub.dependencies import DeviceOperator

    app = create_app(sqlite_hub)

    @app.post(f"{API}/look")
    def look(request: Request, _operator: DeviceOperator) -> dict[str, str]:
        actor = request.state.actor
        return {"id": actor.id, "name": actor.name, "role": actor.role, "address": actor.address}

    with sqlite_hub.database.transaction() as session:
        token = create_operator_token(session, "ada")
    with TestClient(app, headers={"authorization": f"Bearer {token}"}, client=("10.1.2.3", 5)) as caller:
        seen = caller.post(f"{API}/look").json()
    assert (seen["name"], seen["role"], seen["address"]) == ("ada", "admin", "10.1.2.3")
    assert seen["id"].startswith("u-")
