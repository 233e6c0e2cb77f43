"""Forms sent from elsewhere: each route of the console that changes something is tried, whichever there are."""

import re

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlmodel import SQLModel, select
from tests.hub.console.conftest import PASSWORD, csrf_of, open_browser

from shoal_hub.api import API, create_app
from shoal_hub.console.visitors import COOKIE
from shoal_hub.context import HubContext
from shoal_hub.operators.tables import ConsoleSession, OperatorToken, User

SAFE = {"GET", "HEAD", "OPTIONS"}
MLFLOW = ("/api/2.0/", "/api/3.0/")
LOGIN = "/login"
FIELDS = {
    "token": "shoal_x",
    "name": "grace",
    "password": PASSWORD,
    "current": PASSWORD,
    "new": "another long password",
    "role": "viewer",
    "days": "1",
    "scopes": "read",
}
EVIL: dict[str, dict[str, str | None]] = {
    "another site": {"sec-fetch-site": "cross-site"},
    "a sister site": {"sec-fetch-site": "same-site"},
    "another origin": {"origin": "https://evil.test", "sec-fetch-site": None},
    "no origin": {"origin": "null", "sec-fetch-site": None},
    "a browser that does not say": {"sec-fetch-site": None},
}


def console_routes(hub: HubContext) -> list[tuple[str, str]]:
    """Every method and path outside the API that may change something."""
    routes = [(route.path or "", route.methods or set()) for route in iter_route_contexts(create_app(hub).routes)]
    apart = (API, *MLFLOW)  # whose callers have a token, and no session
    return sorted((method, path) for path, methods in routes if not path.startswith(apart) for method in methods - SAFE)


def everything(hub: HubContext) -> list[str]:
    with hub.database.session() as session:
        tables: list[type[SQLModel]] = [User, OperatorToken, ConsoleSession]
        return [
            row.model_dump_json(exclude={"last_seen_at"}) for table in tables for row in session.exec(select(table))
        ]


def test_there_are_forms_to_try(hub: HubContext) -> None:
    assert ("POST", "/logout") in console_routes(hub)
    assert len(console_routes(hub)) >= 5


@pytest.mark.parametrize("where", EVIL)
def test_no_form_on_another_site_does_anything(visitor: TestClient, hub: HubContext, where: str) -> None:
    csrf, before = csrf_of(visitor), everything(hub)
    for method, path in console_routes(hub):
        with open_browser(hub) as evil:
            evil.cookies.update(visitor.cookies)
            for name, value in EVIL[where].items():
                if value is None:
                    del evil.headers[name]
                else:
                    evil.headers[name] = value
            answer = evil.request(method, path.replace("{", "").replace("}", ""), data=FIELDS | {"csrf": csrf})
        assert answer.status_code == 403, (method, path, answer.text)
        assert "set-cookie" not in answer.headers
    assert everything(hub) == before


@pytest.mark.parametrize("csrf", ["", "0" * 64, "of another session", "\ud800"])
def test_no_form_without_its_sessions_token_does_anything(
    visitor: TestClient, hub: HubContext, token: str, csrf: str
) -> None:
    if csrf == "of another session":
        with open_browser(hub) as other:
            other.post("/login", data={"token": token})
            csrf = csrf_of(other)
    before = everything(hub)
    for method, path in console_routes(hub):
        if path != LOGIN:
            url = path.replace("{", "").replace("}", "")
            data = FIELDS | {"csrf": csrf.encode("utf-8", "surrogatepass").decode("latin-1")}
            answer = visitor.request(method, url, data=data)
            assert answer.status_code == 403, (method, path, answer.text)
            in_header = visitor.request(method, url, data=FIELDS, headers={"x-csrf-token": "0" * 64})
            assert in_header.status_code == 403, (method, path)
    assert everything(hub) == before


def test_no_form_does_anything_without_a_session(browser: TestClient, hub: HubContext) -> None:
    for method, path in console_routes(hub):
        if path != LOGIN:
            answer = browser.request(method, path.replace("{", "").replace("}", ""), data=FIELDS)
            assert answer.status_code == 401, (method, path)


def test_a_token_in_the_header_is_as_good_as_one_in_the_form(visitor: TestClient) -> None:
    assert visitor.post("/logout", headers={"x-csrf-token": csrf_of(visitor)}).status_code == 303
    assert visitor.get("/").status_code == 303


def test_the_origin_tells_where_the_browser_says_no_more(hub: HubContext, token: str) -> None:
    with open_browser(hub, origin="https://testserver") as old:
        del old.headers["sec-fetch-site"]
        assert old.post("/login", data={"token": token}).status_code == 303


def test_every_form_on_every_page_carries_the_token(visitor: TestClient) -> None:
    csrf = csrf_of(visitor)
    for path in ("/", "/account"):
        page = visitor.get(path).text
        forms = re.findall(r"<form[^>]*>.*?</form>", page, re.DOTALL)
        assert forms
        for form in forms:
            assert 'method="post"' in form
            assert f'name="csrf" value="{csrf}"' in form, form
    assert f'X-CSRF-Token": "{csrf}' in visitor.get("/").text


def test_a_sessions_token_does_not_give_the_session_away(visitor: TestClient) -> None:
    assert visitor.cookies[COOKIE] not in visitor.get("/account").text
