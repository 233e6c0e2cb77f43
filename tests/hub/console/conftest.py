"""A browser at the console of a hub."""

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.operators.users import create_user

PASSWORD = "correct horse battery"


@pytest.fixture
def hub(sqlite_hub: HubContext) -> HubContext:
    """One engine is enough here: what the console calls has its own tests on both."""
    return sqlite_hub


def open_browser(hub: HubContext, **headers: str) -> TestClient:
    """Open a browser, which says where its forms stand; with `headers`, as another one would."""
    app = create_app(hub)
    opened = TestClient(app, base_url="https://testserver", follow_redirects=False, raise_server_exceptions=False)
    opened.headers.update({"sec-fetch-site": "same-origin"} | headers)
    return opened


@pytest.fixture
def browser(hub: HubContext) -> Iterator[TestClient]:
    with open_browser(hub) as opened:
        yield opened


@pytest.fixture
def token(hub: HubContext) -> str:
    with hub.database.transaction() as session:
        return create_operator_token(session, "ada")


@pytest.fixture
def visitor(browser: TestClient, token: str) -> TestClient:
    """A browser that a token has logged in."""
    assert browser.post("/login", data={"token": f" {token}\n"}).status_code == 303
    return browser


@pytest.fixture
def grace(hub: HubContext) -> str:
    """An operator with a password; returns the name."""
    with hub.database.transaction() as session:
        create_user(session, "grace", Role.OPERATOR, password=PASSWORD, by="test", now=utc_now())
    return "grace"


def csrf_of(browser: TestClient) -> str:
    """Return what the session's forms carry."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', browser.get("/account").text)
    assert found is not None
    return found[1]
