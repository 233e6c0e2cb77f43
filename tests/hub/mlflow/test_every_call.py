"""Every route of MLflow's API: who may call it, and what it leaves in the audit trail."""

import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from tests.hub.audit.trail import read

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.mlflow.routes import PREFIXES
from shoal_hub.operators.roles import Role, Scope
from shoal_hub.operators.tokens import create_token
from shoal_hub.operators.users import create_user

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts"
READS_ONLY = {
    ("POST", f"{API}/experiments/search"),
    ("POST", f"{API}/runs/search"),
    ("POST", f"{API}/logged-models/search"),
    ("POST", f"{API}/registered-models/get-latest-versions"),
}
BY_SECRET = ("PUT", f"{FILES}/parts/{{upload_id}}/{{number}}")
LOGS_ONLY = {("POST", f"{API}/runs/{call}") for call in ("log-metric", "log-parameter", "log-inputs", "outputs")} | {
    ("POST", f"{API}/logged-models/{{model_id}}/params"),
    BY_SECRET,
}
"""What they keep is telemetry, of which the trail tells nothing."""


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path, without those that answer calls that are none."""
    found = {(context.path or "", frozenset(context.methods or ())) for context in iter_route_contexts(app.routes)}
    mine = [(path, methods) for path, methods in found if path.startswith(PREFIXES)]
    last = {f"{prefix}/{{path:path}}" for prefix in PREFIXES}
    return {(method, path) for path, methods in mine if path not in last for method in methods - {"HEAD"}}


def changing(app: FastAPI) -> set[tuple[str, str]]:
    return {one for one in routes(app) if one[0] != "GET"} - READS_ONLY


def token_of(hub: HubContext, role: Role, *scopes: Scope) -> str:
    with hub.database.transaction() as session:
        user = create_user(session, f"of-{role}", role, password=None, by="test", now=utc_now())
        made = create_token(session, user, label="", role=role, scopes=scopes, life=None, by=None, now=utc_now())
    return made.text


def check(caller: TestClient, of: set[tuple[str, str]], status: int, code: str) -> None:
    assert of
    for method, path in of:
        answer = caller.request(method, re.sub(r"\{\w+(:path)?\}", "1", path))
        assert (answer.status_code, answer.json()["error_code"]) == (status, code), (method, path, answer.text)


def test_nobody_gets_401_in_mlflow_s_form_at_every_route(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    with TestClient(app) as nobody:
        check(nobody, routes(app) - {BY_SECRET}, 401, "UNAUTHENTICATED")
        check(nobody, {("GET", f"{API}/traces/search"), ("POST", "/api/3.0/mlflow/anything")}, 401, "UNAUTHENTICATED")
        check(nobody, {("PUT", f"{FILES}/parts/up-x/1")}, 404, "RESOURCE_DOES_NOT_EXIST")


def test_a_viewer_changes_nothing_and_a_token_without_the_scope_read_reads_nothing(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)
    with TestClient(app, headers={"authorization": f"Bearer {token_of(sqlite_hub, Role.VIEWER, *Scope)}"}) as viewer:
        check(viewer, changing(app) - {BY_SECRET}, 403, "PERMISSION_DENIED")
        assert viewer.post(f"{API}/runs/search", json={"experiment_ids": ["0"]}).json() == {"runs": []}
    others = set(Scope) - {Scope.MODELS}
    with TestClient(app, headers={"authorization": f"Bearer {token_of(sqlite_hub, Role.ADMIN, *others)}"}) as other:
        check(other, changing(app) - {BY_SECRET}, 403, "PERMISSION_DENIED")
    writes_only = token_of(sqlite_hub, Role.OPERATOR, Scope.MODELS)
    with TestClient(app, headers={"authorization": f"Bearer {writes_only}"}) as writer:
        check(writer, (routes(app) - changing(app)) | READS_ONLY, 403, "PERMISSION_DENIED")


def test_a_token_is_taken_as_the_password_of_basic_authentication_too(sqlite_hub: HubContext) -> None:
    token = token_of(sqlite_hub, Role.VIEWER, Scope.READ)
    with TestClient(create_app(sqlite_hub)) as caller:
        path = f"{API}/experiments/get?experiment_id=0"
        assert caller.get(path, auth=("anything", token)).json()["experiment"]["name"] == "Default"
        assert caller.get(path, auth=(token, "")).status_code == 401
        assert caller.get(path, headers={"authorization": "Basic x"}).status_code == 401


def test_a_call_that_is_none_is_told_in_the_words_by_which_the_client_knows_it(sqlite_client: TestClient) -> None:
    answer = sqlite_client.get(f"{API}/traces/search")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def things(client: TestClient, n: int) -> dict[str, str]:
    """Make one of each thing, with names that end in `n`; return how they are called."""
    run = client.post(f"{API}/runs/create", json={}).json()["run"]["info"]["run_id"]
    model = client.post(f"{API}/logged-models", json={"experiment_id": "0"}).json()["model"]["info"]["model_id"]
    experiment = client.post(f"{API}/experiments/create", json={"name": f"e{n}"}).json()["experiment_id"]
    for file in ("a", "b"):
        client.put(f"{FILES}/artifacts/{n}/{file}", content=b"bytes").raise_for_status()
    client.post(f"{API}/registered-models/create", json={"name": f"m{n}"}).raise_for_status()
    version = {"name": f"m{n}", "source": f"mlflow-artifacts:/{n}/a"}
    client.post(f"{API}/model-versions/create", json=version).raise_for_status()
    for path, body in (
        ("experiments/set-experiment-tag", {"experiment_id": experiment}),
        ("runs/set-tag", {"run_id": run}),
        ("registered-models/set-tag", {"name": f"m{n}"}),
        ("model-versions/set-tag", {"name": f"m{n}", "version": "1"}),
        ("registered-models/alias", {"name": f"m{n}", "alias": "a", "version": "1"}),
    ):
        client.post(f"{API}/{path}", json=body | {"key": "k", "value": "v"}).raise_for_status()
    tags = {"tags": [{"key": "k", "value": "v"}]}
    client.patch(f"{API}/logged-models/{model}/tags", json=tags).raise_for_status()
    begun = client.post(f"{FILES}/mpu/create/{n}", json={"path": "/big", "num_parts": 1}).json()
    part = begun["credentials"][0]
    tag = client.put(part["url"], content=b"x", headers=part["headers"]).headers["etag"]
    return {"run": run, "model": model, "experiment": experiment, "upload": begun["upload_id"], "etag": tag}


def calls(ids: dict[str, str], n: int) -> dict[tuple[str, str], tuple[str, Any]]:
    """Return each route that changes something, with what its path names and its body."""
    run, experiment, model = {"run_id": ids["run"]}, {"experiment_id": ids["experiment"]}, {"name": f"m{n}"}
    tag, version, key = {"key": "k", "value": "w"}, model | {"version": "1"}, {"key": "k"}
    upload = {"upload_id": ids["upload"], "parts": [{"part_number": 1, "etag": ids["etag"]}]}
    logged, parts = f"{API}/logged-models/{{model_id}}", f"{FILES}/mpu"
    return {
        ("POST", f"{API}/experiments/create"): ("", {"name": f"f{n}"}),
        ("POST", f"{API}/experiments/update"): ("", experiment | {"new_name": f"g{n}"}),
        ("POST", f"{API}/experiments/delete"): ("", experiment),
        ("POST", f"{API}/experiments/restore"): ("", experiment),
        ("POST", f"{API}/experiments/set-experiment-tag"): ("", experiment | tag),
        ("POST", f"{API}/experiments/delete-experiment-tag"): ("", experiment | key),
        ("POST", f"{API}/runs/create"): ("", {}),
        ("POST", f"{API}/runs/update"): ("", run | {"status": "FINISHED"}),
        ("POST", f"{API}/runs/delete"): ("", run),
        ("POST", f"{API}/runs/restore"): ("", run),
        ("POST", f"{API}/runs/set-tag"): ("", run | tag),
        ("POST", f"{API}/runs/delete-tag"): ("", run | key),
        ("POST", f"{API}/runs/log-batch"): ("", run | {"tags": [tag]}),
        ("POST", f"{API}/runs/log-model"): ("", run | {"model_json": "{}"}),
        ("POST", f"{API}/logged-models"): ("", {"experiment_id": "0", "name": "n"}),
        ("PATCH", logged): (ids["model"], {"status": "LOGGED_MODEL_READY"}),
        ("DELETE", logged): (ids["model"], None),
        ("PATCH", f"{logged}/tags"): (ids["model"], {"tags": [tag]}),
        ("DELETE", f"{logged}/tags/{{tag_key}}"): (ids["model"], None),
        ("POST", f"{API}/registered-models/create"): ("", {"name": f"n{n}"}),
        ("POST", f"{API}/registered-models/rename"): ("", model | {"new_name": f"M {n}"}),
        ("PATCH", f"{API}/registered-models/update"): ("", model | {"description": "d"}),
        ("DELETE", f"{API}/registered-models/delete"): ("", model),
        ("POST", f"{API}/registered-models/set-tag"): ("", model | tag),
        ("DELETE", f"{API}/registered-models/delete-tag"): ("", model | key),
        ("POST", f"{API}/registered-models/alias"): ("", version | {"alias": "b"}),
        ("DELETE", f"{API}/registered-models/alias"): ("", model | {"alias": "a"}),
        ("POST", f"{API}/model-versions/create"): ("", model | {"source": "s3://elsewhere/m"}),
        ("PATCH", f"{API}/model-versions/update"): ("", version | {"description": "d"}),
        ("DELETE", f"{API}/model-versions/delete"): ("", version),
        ("POST", f"{API}/model-versions/transition-stage"): ("", version | {"stage": "Staging"}),
        ("POST", f"{API}/model-versions/set-tag"): ("", version | tag),
        ("DELETE", f"{API}/model-versions/delete-tag"): ("", version | key),
        ("PUT", f"{FILES}/artifacts/{{path:path}}"): (f"{n}/new", b"bytes"),
        ("DELETE", f"{FILES}/artifacts/{{path:path}}"): (f"{n}/b", None),
        ("POST", f"{parts}/create/{{path:path}}"): (f"{n}", {"path": "/bigger", "num_parts": 2}),
        ("POST", f"{parts}/complete/{{path:path}}"): (f"{n}", upload),
        ("POST", f"{parts}/abort/{{path:path}}"): (f"{n}", upload),
    }


def test_every_route_that_changes_something_leaves_one_entry_with_who_and_what(
    sqlite_client: TestClient, sqlite_hub: HubContext
) -> None:
    every = sorted(calls(things(sqlite_client, 0), 0))
    assert set(every) | LOGS_ONLY == changing(create_app(sqlite_hub))
    for n, (method, path) in enumerate(every, start=1):
        named, body = calls(things(sqlite_client, n), n)[method, path]
        place = re.sub(r"\{(model_id|path:path)\}", named, path).replace("{tag_key}", "k")
        if path.endswith("/restore"):
            sqlite_client.post(path.replace("/restore", "/delete"), json=body).raise_for_status()
        before = len(read(sqlite_hub.database))
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = sqlite_client.request(method, place, **sent)
        entries = read(sqlite_hub.database)
        assert (answer.status_code, len(entries)) == (200, before + 1), (method, path, answer.text)
        assert (entries[-1].actor_name, entries[-1].action.split(".")[0]) == ("ada", "mlflow")
        assert json.loads(entries[-1].before) != json.loads(entries[-1].after), (method, path)


def test_what_a_run_logs_leaves_no_entry(sqlite_client: TestClient, sqlite_hub: HubContext) -> None:
    run = {"run_id": things(sqlite_client, 0)["run"]}
    value = {"key": "acc", "value": 0.5, "timestamp": 1, "step": 1}
    model = things(sqlite_client, 1)["model"]
    before = len(read(sqlite_hub.database))
    params = {"params": [{"key": "a", "value": "b"}]}
    sqlite_client.post(f"{API}/logged-models/{model}/params", json=params).raise_for_status()
    for call, body in (
        ("log-metric", value),
        ("log-parameter", {"key": "a", "value": "b"}),
        ("log-batch", {"metrics": [value], "params": [{"key": "c", "value": "d"}]}),
        ("log-inputs", {"datasets": [{"dataset": {"name": "d", "digest": "1"}}]}),
        ("outputs", {"models": [{"model_id": "m-1", "step": 1}]}),
    ):
        sqlite_client.post(f"{API}/runs/{call}", json=run | body).raise_for_status()
    assert len(read(sqlite_hub.database)) == before
