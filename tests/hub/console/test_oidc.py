"""Login by an OpenID provider: one on loopback with real signatures, and each lie that it or a browser can tell."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from joserfc.jwk import ECKey, OctKey, RSAKey
from sqlmodel import delete, select
from tests.hub.console.conftest import open_browser
from tests.simulators.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, oidc_provider

from shoal_hub.console.visitors import COOKIE
from shoal_hub.context import HubContext
from shoal_hub.database import Database, utc_now
from shoal_hub.errors import RefusedError, SettingsError
from shoal_hub.operators import oidc_login
from shoal_hub.operators.oidc_roles import parse_roles, role_of
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tables import OidcLogin, User
from shoal_hub.operators.users import create_user, disable_user, find_user
from shoal_hub.security import hash_secret
from shoal_hub.settings import Settings

CALLBACK = "/login/oidc/callback"


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as opened:
        opened.claims = {"preferred_username": "Grace", "groups": ["staff", "fleet-ops"]}
        yield opened


@pytest.fixture
def hub(sqlite_hub: HubContext, provider: OidcProvider, tmp_path: Path) -> HubContext:
    secret = tmp_path / "secret"
    secret.write_text(CLIENT_SECRET + "\n")
    settings = sqlite_hub.settings.model_copy(
        update={
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret_file": str(secret),
            "oidc_roles": "fleet-ops=operator,fleet-admins=admin",
            "login_per_minute": 100.0,
        }
    )
    return replace(sqlite_hub, settings=settings)


def begin(browser: TestClient) -> str:
    response = browser.get("/login/oidc")
    assert response.status_code == 303, response.text
    return response.headers["location"]


def log_in(browser: TestClient, provider: OidcProvider) -> Response:
    return browser.get(CALLBACK, params=provider.answer(begin(browser)), headers={"sec-fetch-site": "cross-site"})


def users(hub: HubContext) -> list[User]:
    with hub.database.session() as session:
        return list(session.exec(select(User)))


def refused(browser: TestClient, response: Response, text: str) -> None:
    assert response.status_code in {401, 403, 409, 503}, response.text
    assert text in response.text
    assert COOKIE not in response.cookies
    assert browser.get("/").status_code == 303


def test_a_user_comes_in_by_the_provider_with_the_role_that_it_gives(
    browser: TestClient, provider: OidcProvider, hub: HubContext
) -> None:
    assert provider.issuer in browser.get("/login").text
    response = log_in(browser, provider)
    assert response.status_code == 200, response.text
    assert 'http-equiv="refresh"' in response.text, "a redirect would lose the strict cookie"
    assert "SameSite=strict" in response.headers["set-cookie"]
    assert "grace (operator)" in browser.get("/").text
    (user,) = users(hub)
    assert (user.name, user.oidc_issuer, user.oidc_subject, user.password_hash) == (
        "grace",
        provider.issuer,
        "s-1",
        None,
    )


def test_what_the_provider_is_asked_binds_its_answer(browser: TestClient, provider: OidcProvider) -> None:
    url = begin(browser)
    assert url.startswith(f"{provider.issuer}/authorize?")
    for part in (
        "scope=openid",
        "nonce=",
        "state=",
        "code_challenge=",
        "redirect_uri=https%3A%2F%2Ftestserver%2Flogin",
    ):
        assert part in url
    assert CLIENT_SECRET not in url


def test_the_provider_is_asked_at_a_login_and_not_at_the_start(browser: TestClient, provider: OidcProvider) -> None:
    assert browser.get("/login").status_code == 200
    assert provider.requests == []
    begin(browser)
    assert provider.requests == ["/.well-known/openid-configuration"]


def test_a_provider_that_is_away_keeps_its_own_users_out_and_no_others(hub: HubContext, token: str) -> None:
    gone = replace(hub, settings=hub.settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:9"}))
    with open_browser(gone) as other:
        response = other.get("/login/oidc")
        assert response.status_code == 503
        assert "check SHOAL_OIDC_ISSUER" in response.text
        assert other.post("/login", data={"token": token}).status_code == 303


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "another client"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [CLIENT_ID, "other"], "azp": "other"}, "azp"),
        ({"iss": "https://evil.test"}, "iss"),
        ({"exp": int(time.time()) - 3600}, "expired"),
        ({"exp": None}, "exp"),
        ({"iat": int(time.time()) + 3600}, "not acceptable"),
        ({"sub": None}, "sub"),
        ({"groups": ["staff"]}, "no role"),
        ({"groups": None}, "no role"),
        ({"groups": {"fleet-admins": True}}, "no role"),
    ],
)
def test_a_token_that_is_not_for_this_login_opens_nothing(
    browser: TestClient, provider: OidcProvider, hub: HubContext, claims: dict[str, Any], text: str
) -> None:
    provider.claims |= claims
    refused(browser, log_in(browser, provider), text)
    assert users(hub) == []


@pytest.mark.parametrize("lie", ["another key", "hmac by the secret", "hmac by the public key", "none", "elliptic"])
def test_a_token_that_another_key_signed_opens_nothing(
    browser: TestClient, provider: OidcProvider, hub: HubContext, lie: str
) -> None:
    match lie:
        case "another key":
            provider.signs_with = RSAKey.generate_key(2048, {"kid": "one"})
        case "hmac by the secret":
            provider.signs_with, provider.algorithm = OctKey.import_key(CLIENT_SECRET), "HS256"
        case "hmac by the public key":
            secret = provider.key.as_dict(private=False)["n"]
            provider.signs_with, provider.algorithm = OctKey.import_key(str(secret)), "HS256"
        case "elliptic":
            provider.signs_with, provider.algorithm = ECKey.generate_key("P-256", {"kid": "one"}), "ES256"
        case _:
            provider.algorithm = "none"
    refused(browser, log_in(browser, provider), "not acceptable")
    assert users(hub) == []


def test_of_two_answers_that_come_at_once_one_is_taken(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has seen the login before the first has committed that it is taken."""
    now, has_seen = utc_now(), threading.Event()
    row = OidcLogin(
        state_sha256=hash_secret("state"),
        browser_sha256=hash_secret("browser"),
        nonce="n",
        code_verifier="v",
        redirect_uri=CALLBACK,
        expires_at=now + timedelta(minutes=1),
    )
    with database.transaction() as session:
        session.add(row)

    def take() -> None:
        with database.transaction() as session:
            oidc_login._take(session, "browser", "state", now)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            oidc_login._take(session, "browser", "state", now)
            monkeypatch.setattr(oidc_login, "delete", lambda table: (has_seen.set(), delete(table))[1])
            second = pool.submit(take)
            # On SQLite it cannot even begin.
            assert has_seen.wait(30 if database.engine.dialect.name == "postgresql" else 0.2) or not second.done()
        with pytest.raises(RefusedError, match="came back before"):
            second.result()


def test_an_answer_is_taken_once(browser: TestClient, provider: OidcProvider) -> None:
    answer = provider.answer(begin(browser))
    assert browser.get(CALLBACK, params=answer).status_code == 200
    del browser.cookies[COOKIE]
    refused(browser, browser.get(CALLBACK, params=answer), "came back before")


def test_a_replayed_state_with_a_fresh_code_opens_nothing(browser: TestClient, provider: OidcProvider) -> None:
    url = begin(browser)
    cookies = dict(browser.cookies)
    assert browser.get(CALLBACK, params=provider.answer(url)).status_code == 200
    browser.cookies.clear()
    browser.cookies.update(cookies)
    refused(browser, browser.get(CALLBACK, params=provider.answer(url)), "came back before")


def test_one_browsers_answer_opens_nothing_in_another(
    browser: TestClient, provider: OidcProvider, hub: HubContext
) -> None:
    answer = provider.answer(begin(browser))
    with open_browser(hub) as victim:
        refused(victim, victim.get(CALLBACK, params=answer), "not begun by this browser")
        begin(victim)
        refused(victim, victim.get(CALLBACK, params=answer), "not begun by this browser")
    assert browser.get(CALLBACK, params=answer).status_code == 200, "the attempt did not use it up"


@pytest.mark.parametrize(
    "params", [{}, {"state": "x", "code": "y"}, {"error": "access_denied"}, {"state": "\x00" * 9000}]
)
def test_a_made_up_answer_opens_nothing(browser: TestClient, params: dict[str, str]) -> None:
    refused(browser, browser.get(CALLBACK, params=params), "begin the login again")


def test_a_code_of_another_login_opens_nothing(browser: TestClient, provider: OidcProvider) -> None:
    first = provider.answer(begin(browser))
    second = provider.answer(begin(browser))
    refused(browser, browser.get(CALLBACK, params=second | {"code": first["code"]}), "invalid_grant")


def test_a_login_that_took_too_long_is_over_and_forgotten(
    browser: TestClient, provider: OidcProvider, hub: HubContext
) -> None:
    answer = provider.answer(begin(browser))
    with hub.database.transaction() as session:
        row = session.exec(select(OidcLogin)).one()
        row.expires_at = utc_now() - timedelta(seconds=1)
        session.add(row)
    refused(browser, browser.get(CALLBACK, params=answer), "is over")
    begin(browser)
    with hub.database.session() as session:
        assert len(session.exec(select(OidcLogin)).all()) == 1


def test_nobody_becomes_a_user_of_the_hub_by_taking_its_name_at_the_provider(
    browser: TestClient, provider: OidcProvider, hub: HubContext
) -> None:
    with hub.database.transaction() as session:
        create_user(session, "grace", Role.ADMIN, password=None, by="test", now=utc_now())
    refused(browser, log_in(browser, provider), "another user grace")


def test_the_role_follows_the_provider_at_each_login(
    browser: TestClient, provider: OidcProvider, hub: HubContext
) -> None:
    log_in(browser, provider)
    provider.claims["groups"] = ["fleet-admins", "fleet-ops"]
    log_in(browser, provider)
    assert "grace (admin)" in browser.get("/").text
    assert len(users(hub)) == 1


def test_who_is_disabled_here_stays_out(browser: TestClient, provider: OidcProvider, hub: HubContext) -> None:
    log_in(browser, provider)
    with hub.database.transaction() as session:
        disable_user(session, find_user(session, "grace"), by="test", now=utc_now())
    refused(browser, log_in(browser, provider), "is disabled")


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.test"},
        {"authorization_endpoint": "http://evil.test/a"},
        {"authorization_endpoint": None},
    ],
)
def test_a_provider_that_describes_itself_wrongly_gets_nobody(
    browser: TestClient, provider: OidcProvider, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    assert browser.get("/login/oidc").status_code == 503


def test_without_a_provider_there_is_no_such_way(sqlite_hub: HubContext) -> None:
    with open_browser(sqlite_hub) as browser:
        assert "Sign in with" not in browser.get("/login").text
        assert browser.get("/login/oidc").headers["location"] == "/login"
        refused(browser, browser.get(CALLBACK, params={"state": "x", "code": "y"}), "begin the login again")


def test_roles_come_from_a_claim_also_a_nested_one() -> None:
    roles = parse_roles("ops=operator, admins=admin,")
    assert role_of({"groups": ["ops", "admins", 7, None]}, "groups", roles) is Role.ADMIN
    assert role_of({"groups": "ops"}, "groups", roles) is Role.OPERATOR
    assert role_of({"realm_access": {"roles": ["ops"]}}, "realm_access.roles", roles) is Role.OPERATOR
    assert role_of({"https://example.org/roles": ["ops"]}, "https://example.org/roles", roles) is Role.OPERATOR
    assert role_of({}, "groups", roles) is None


@pytest.mark.parametrize(
    "environment",
    [{"SHOAL_OIDC_ROLES": "ops"}, {"SHOAL_OIDC_ROLES": "ops=god"}, {"SHOAL_OIDC_ISSUER": "http://idp.example"}],
)
def test_wrong_settings_are_refused_at_the_start(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(environment))):
        Settings.read(environment)
