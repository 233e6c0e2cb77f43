"""Text of a caller that tries to be SQL or a header: it stays text, at every route, over real HTTP too."""

import http.client
import re
import ssl
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect
from tests.hub.served import ServedHub, served_hub

from shoal_hub.context import HubContext
from shoal_hub.schema import METADATA

SQL = (
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    '" OR ""="',
    "1; DELETE FROM operator_tokens",
    "x' UNION SELECT secret_sha256 FROM operator_tokens --",
    "%' OR name LIKE '%",
    "1 OR 1=1",
    "\\'; SELECT pg_sleep(60); --",
)
BREAKS = ("\r\nset-cookie: evil=1", "\nx-evil: 1", "\r\n\r\n<script>", "\u2028x-evil: 1", "%0d%0aset-cookie:%20evil=1")
URL = "/api/v1"


def routes_of(client: TestClient) -> list[tuple[str, str, list[str]]]:
    """Each method and path, with its query's names."""
    paths = client.get("/api/openapi.json").json()["paths"]
    return [
        (method.upper(), path, [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"])
        for path, methods in paths.items()
        for method, operation in methods.items()
        if path != f"{URL}/events/stream"
    ]


def body_of(text: str) -> dict[str, object]:
    names = ("name", "label", "comment", "model", "version", "user", "description", "dataset", "stage", "token")
    return dict.fromkeys(names, text) | {"tags": {"site": text}, "devices": [text], "techniques": [text]}


@pytest.mark.parametrize("text", SQL)
@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])], indirect=True
)
def test_sql_in_any_parameter_is_text(client: TestClient, hub: HubContext, text: str) -> None:
    tables = set(inspect(hub.database.engine).get_table_names())
    assert set(METADATA.tables) <= tables
    for method, path, queries in routes_of(client):
        url = re.sub(r"\{\w+\}", quote(text, safe=""), path)
        params = dict.fromkeys(queries, text)
        body = None if method in {"GET", "DELETE"} else body_of(text)
        answer = client.request(method, url, params=params, json=body)
        assert answer.status_code < 500, (method, path, answer.text)
        assert answer.elapsed.total_seconds() < 60, (method, path)
    assert set(inspect(hub.database.engine).get_table_names()) == tables
    assert client.get(f"{URL}/operator").json()["name"] == "ada", "users and tokens are still there"


@pytest.mark.parametrize("text", SQL)
def test_sql_in_a_filter_finds_no_more_than_its_text_names(client: TestClient, text: str) -> None:
    client.post(f"{URL}/tokens", json={"label": "kitchen"})
    assert client.get(f"{URL}/events").json() != []
    for path, name in (("events", "subject"), ("events", "device"), ("rollouts", "model"), ("approvals", "model")):
        assert client.get(f"{URL}/{path}", params={name: text}).json() == [], (path, name)
    for path in ("devices", "users", "operator-tokens", "approvals", "rollouts", "jobs"):
        answer = client.get(f"{URL}/{path}/{quote(text, safe='')}")
        assert answer.status_code in {404, 405}, (path, answer.text)


@pytest.mark.parametrize("text", SQL)
def test_sql_in_a_login_or_a_token_lets_nobody_in(stranger: TestClient, text: str) -> None:
    same = {"sec-fetch-site": "same-origin"}
    for form in ({"name": text, "password": text}, {"name": "ada", "password": text}, {"token": text}):
        assert stranger.post("/login", data=form, headers=same).status_code == 401
    assert stranger.get(f"{URL}/devices", headers={"authorization": f"Bearer {text}"}).status_code == 401
    assert stranger.get("/", headers={"cookie": f"__Host-shoal={quote(text)}"}).url.path == "/login"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.mark.parametrize("text", BREAKS)
def test_a_line_break_in_any_parameter_makes_no_header(sqlite_client: TestClient, text: str) -> None:
    for method, path, queries in routes_of(sqlite_client):
        url = re.sub(r"\{\w+\}", quote(text, safe=""), path)
        body = None if method in {"GET", "DELETE"} else body_of(text)
        answer = sqlite_client.request(method, url, params=dict.fromkeys(queries, text), json=body)
        assert answer.status_code < 500, (method, path, answer.text)
        assert {"set-cookie", "x-evil", "location"} & set(answer.headers) == set(), (method, path)
        assert not any("\r" in value or "\n" in value for value in answer.headers.values())


@pytest.mark.parametrize("text", BREAKS)
def test_a_line_break_in_a_console_form_or_answer_makes_no_header(served: ServedHub, text: str) -> None:
    parts = urlsplit(served.url)
    context = ssl.create_default_context(cafile=served.ca_path)
    escaped = quote(text, safe="")
    for method, path, body in (
        ("POST", "/login", f"name={escaped}&password={escaped}"),
        ("POST", "/login", f"token={escaped}"),
        ("GET", f"/login/oidc/callback?state={escaped}&code={escaped}&error={escaped}", ""),
        ("GET", f"/login?next={escaped}", ""),
        ("GET", f"/account?{escaped}", ""),
        ("GET", f"/{escaped}", ""),
    ):
        link = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=30)
        headers = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}
        link.request(method, path, body or None, headers)
        answer = link.getresponse()
        answer.read()
        link.close()
        names = {name.lower() for name, _ in answer.getheaders()}
        assert {"set-cookie", "x-evil"} & names == set(), (method, path)
        assert answer.status < 500, (method, path)
        assert "evil" not in (answer.getheader("location") or "")


def test_a_host_that_a_caller_makes_up_stands_in_no_answer(served: ServedHub) -> None:
    parts = urlsplit(served.url)
    context = ssl.create_default_context(cafile=served.ca_path)
    for path in ("/", "/account", "/login/oidc", "/login"):
        link = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=30)
        link.request("GET", path, headers={"host": "evil.test"})
        answer = link.getresponse()
        text = answer.read().decode()
        link.close()
        assert "evil.test" not in text + str(answer.getheaders()), path
