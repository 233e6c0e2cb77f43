"""What holds for every route: who may call, how large a body may be, and the form of every error."""

import itertools
import json
import re

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from starlette.types import Message

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.operators.tokens import create_operator_token

OPEN_ROUTES = {
    ("GET", "/api/v1/health"),
    ("GET", "/api/v1/ca.pem"),
    ("POST", "/api/v1/enrol"),
    ("POST", "/api/v1/renew"),
    ("GET", "/api/v1/trust/metadata/{file}"),
    ("GET", "/api/v1/trust/targets/{path}"),
}


TAKES_ANY_NAME = {
    "register_version_api_v1_models__name__versions_post",
    "limit_group_api_v1_limits_groups__name__put",
}
"""Operations that make what they name, where there is no such thing."""


def routes_of(client: TestClient) -> list[tuple[str, str]]:
    paths = client.get("/api/openapi.json").json()["paths"]
    return sorted((method.upper(), path) for path, methods in paths.items() for method in methods)


def test_every_route_but_the_open_ones_asks_for_a_token_first(stranger: TestClient) -> None:
    for method, path in routes_of(stranger):
        if (method, path) not in OPEN_ROUTES:
            url = path.replace("{", "").replace("}", "")
            response = stranger.request(method, url)
            assert response.status_code == 401, (method, path, response.text)
            is_device_s = path.startswith("/api/v1/device/")  # not an operator's token, but a device's signature
            assert ("shoal-agent" if is_device_s else "shoal login") in response.json()["error"]["remedy"]
            assert response.headers["www-authenticate"] == "Bearer"


def test_every_route_documents_the_errors_that_it_answers_with(stranger: TestClient) -> None:
    for path, methods in stranger.get("/api/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if (method.upper(), path) not in OPEN_ROUTES:
                assert "401" in operation["responses"], (method, path)
            if "{" in path and operation["operationId"] not in TAKES_ANY_NAME:
                assert "404" in operation["responses"], (method, path)


def test_every_error_is_documented_in_the_one_form(stranger: TestClient) -> None:
    described = stranger.get("/api/openapi.json").json()["paths"]
    for path, methods in described.items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (method, path, status)


@pytest.mark.parametrize("header", ["Bearer shoal_wrong", "Bearer \u00e9", "Bearer ", "Basic abc", "shoal_wrong"])
def test_a_wrong_token_is_refused(stranger: TestClient, header: str) -> None:
    response = stranger.get("/api/v1/devices", headers={"Authorization": header.encode()})
    assert response.status_code == 401


def test_a_revoked_operator_token_is_refused(client: TestClient, hub: HubContext) -> None:
    assert client.get("/api/v1/operator").json()["name"] == "ada"
    with hub.database.transaction() as session:
        row = session.exec(select(OperatorToken)).one()
        row.revoked_at = utc_now()
        session.add(row)
    assert client.get("/api/v1/operator").status_code == 401


def test_a_body_that_declares_too_much_is_refused_unread(stranger: TestClient, sqlite_hub: HubContext) -> None:
    response = stranger.post("/api/v1/enrol", content=b"x" * (sqlite_hub.settings.max_body_bytes + 1))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


def test_a_body_that_comes_in_parts_is_cut_at_the_limit(stranger: TestClient, sqlite_hub: HubContext) -> None:
    part = b"x" * 65_536
    parts = (part for _ in range(sqlite_hub.settings.max_body_bytes // len(part) + 2))
    response = stranger.post("/api/v1/enrol", content=parts)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


@pytest.mark.anyio
@pytest.mark.parametrize(("role", "status"), [(None, 401), (Role.VIEWER, 403)])
async def test_nothing_of_an_upload_is_read_before_its_sender_is_known(
    sqlite_hub: HubContext, role: Role | None, status: int
) -> None:
    headers = [(b"content-type", b"multipart/form-data; boundary=b"), (b"content-length", b"500000000")]
    if role is not None:
        with sqlite_hub.database.transaction() as session:
            headers.append((b"authorization", f"Bearer {create_operator_token(session, 'eve', role)}".encode()))
    path = "/api/v1/models/m/versions"
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b"", "client": None}
    sent: list[Message] = []

    async def receive() -> Message:
        pytest.fail("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    await create_app(sqlite_hub)(scope | {"scheme": "https", "server": None}, receive, send)
    assert sent[0]["status"] == status
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["error"]["remedy"]


@pytest.mark.parametrize("name", [b"\\ud800.pkl", b"\\ud800.onnx", b"\\x00.pkl"])
@pytest.mark.parametrize("charset", ["unicode_escape", "undefined", "idna", "utf-7"])
def test_an_upload_in_an_odd_character_set_is_no_failure(sqlite_client: TestClient, name: bytes, charset: str) -> None:
    head = b'--b\r\ncontent-disposition: form-data; name="'
    body = head + b'bundle"\r\n\r\n{}\r\n' + head + b'files"; filename="' + name + b'"\r\n\r\nx\r\n--b--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = sqlite_client.post("/api/v1/models/m/versions", content=body, headers=headers)
    assert answer.status_code in {400, 422}, answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"uses": 1e400}', b"[" * 50_000])
def test_a_body_that_is_no_object_is_invalid_input(sqlite_client: TestClient, body: bytes) -> None:
    response = sqlite_client.post("/api/v1/tokens", content=body, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}, response.text
    assert response.json()["error"]["remedy"]


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/nothing/here"])
def test_a_route_that_is_not_there_says_so_in_the_same_form(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).json()["error"]["code"] == "not_found"


ODD_TEXTS = (
    "x",
    "%00",
    "%ed%a0%80",
    "..%2F..%2Fhub",
    "9" * 40,
    "-1",
    "0",
    "latest",
    "%F0%9F%90%9F",
    "a" * 2000,
    "1e9",
    "%27;--",
)
ODD_BODIES = (
    None,
    "{}",
    "[]",
    '"x"',
    "null",
    "[" * 2000,
    '{"name": null, "version": null, "model": null, "number": null, "stage": null}',
    '{"model": "\\u0000", "version": "\\ud800", "name": "\\ud800", "label": "\\u0000", "token": "\\u0000"}',
    '{"model": "m", "version": "v", "devices": ["d-aaaaaaaaaaaaaaaa"], "waves": [1], "number": 1e308, "uses": -0.0}',
    '{"stage": "production", "comment": "\\ud83d", "techniques": ["a", "a"], "tags": {"a": "\\u0000"}, "uses": 1e999}',
    '{"heartbeat_s": NaN, "window_s": Infinity, "window_requests": 1e400, "timeout_s": NaN, "waves": [1e400]}',
    '{"rollout_on_production": {"waves": [9999999999999999999999], "timeout_s": Infinity}, "description": "\\u0000"}',
)


def test_no_route_answers_odd_input_with_a_server_error_or_a_status_that_it_does_not_document(
    client: TestClient,
) -> None:
    described = client.get("/api/openapi.json").json()["paths"]
    for method, path in routes_of(client):
        if path == "/api/v1/events/stream":
            continue
        bodies = ODD_BODIES if method in {"POST", "PUT", "PATCH"} else (None,)
        texts = ODD_TEXTS if "{" in path else ("",)
        for text, body in [*zip(texts, itertools.cycle(bodies), strict=False), *((texts[0], body) for body in bodies)]:
            url = re.sub(r"\{\w+\}", text, path)
            headers = {"content-type": "application/json"} if body is not None else {}
            response = client.request(method, url, content=body, headers=headers)
            assert response.status_code < 500, (method, url, body, response.text)
            # A text with a slash in it names another route, or none.
            if "%2F" not in url:
                documented = described[path][method.lower()]["responses"]
                assert str(response.status_code) in documented, (method, url, body, response.text)
            assert response.status_code < 400 or response.json()["error"]["remedy"], (method, url, body)


def test_odd_queries_are_refused_and_not_failures(client: TestClient) -> None:
    for method, path in routes_of(client):
        if method == "GET" and "{" not in path and path != "/api/v1/events/stream":
            for text in ODD_TEXTS:
                query = "&".join(
                    f"{name}={text}" for name in ("limit", "offset", "model", "device", "subject", "after")
                )
                assert client.get(f"{path}?{query}").status_code < 500, (path, text)


def test_a_failure_of_the_hub_itself_shows_no_inside(sqlite_hub: HubContext) -> None:
    app = create_app(sqlite_hub)

    @app.get("/api/v1/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret inside")

    with TestClient(app, raise_server_exceptions=False) as caller:
        response = caller.get("/api/v1/broken")
    assert response.status_code == 500
    assert "secret" not in json.dumps(response.json())
