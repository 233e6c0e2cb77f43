"""Login at the console: who gets in, how often one may try, what an answer tells, and how sessions end."""

import statistics
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.console.conftest import PASSWORD, csrf_of, open_browser

from shoal_hub.api import create_app
from shoal_hub.console.visitors import COOKIE
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.errors import TooManyRequestsError, UnauthenticatedError
from shoal_hub.operators.login import log_in_by_password
from shoal_hub.operators.roles import ALL_SCOPES, Role, Scope
from shoal_hub.operators.tables import ConsoleSession, OperatorToken, User
from shoal_hub.operators.tokens import create_token
from shoal_hub.operators.turns import Turns
from shoal_hub.operators.users import create_user, disable_user, enable_user, find_user, reset_password, set_role
from shoal_hub.requests import network_of


def log_in(browser: TestClient, name: str = "grace", password: str = PASSWORD) -> int:
    return browser.post("/login", data={"name": name, "password": password}).status_code


def is_in(browser: TestClient) -> bool:
    return browser.get("/").status_code == 200


def test_a_user_logs_in_by_name_and_password(browser: TestClient, grace: str) -> None:
    assert browser.post("/login", data={"name": f" {grace.upper()} ", "password": PASSWORD}).headers["location"] == "/"
    assert "grace (operator)" in browser.get("/").text
    assert browser.get("/login").headers["location"] == "/"


@pytest.mark.parametrize("form", [{"token": "shoal_wrong"}, {"name": "grace", "password": "wrong"}, {}])
def test_what_is_wrong_opens_no_session(browser: TestClient, grace: str, form: dict[str, str]) -> None:
    assert grace
    response = browser.post("/login", data=form)
    assert response.status_code == 401
    assert 'role="alert"' in response.text
    assert COOKIE not in response.cookies


def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_http(
    browser: TestClient, hub: HubContext, token: str
) -> None:
    cookie = browser.post("/login", data={"token": token}).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert token not in cookie
    assert "Max-Age=43200" in cookie
    assert hub.settings.session_s == 43_200


def test_the_database_knows_no_cookie_and_no_password(browser: TestClient, hub: HubContext, grace: str) -> None:
    log_in(browser)
    secret = browser.cookies[COOKIE]
    with hub.database.session() as session:
        row, user = session.exec(select(ConsoleSession)).one(), find_user(session, grace)
    assert secret not in row.model_dump_json()
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in user.password_hash


def test_logging_out_ends_the_session_at_the_hub(visitor: TestClient) -> None:
    cookie = visitor.cookies[COOKIE]
    assert visitor.post("/logout", data={"csrf": csrf_of(visitor)}).headers["location"] == "/login"
    assert visitor.get("/", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 303


def test_a_login_gives_a_new_secret_and_ends_the_former_session(browser: TestClient, grace: str) -> None:
    assert grace
    log_in(browser)
    first = browser.cookies[COOKIE]
    log_in(browser)
    assert browser.cookies[COOKIE] != first
    browser.cookies.clear()
    assert browser.get("/", headers={"cookie": f"{COOKIE}={first}"}).status_code == 303


def test_a_secret_that_somebody_planted_is_never_raised(browser: TestClient, grace: str) -> None:
    assert grace
    planted = "p" * 43
    response = browser.post(
        "/login", data={"name": "grace", "password": PASSWORD}, headers={"cookie": f"{COOKIE}={planted}"}
    )
    assert response.status_code == 303
    browser.cookies.clear()
    assert browser.get("/", headers={"cookie": f"{COOKIE}={planted}"}).status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "x" * 5000, "%00", "' OR 1=1 --"])
def test_a_made_up_cookie_is_none(browser: TestClient, token: str, cookie: str) -> None:
    assert token
    assert browser.get("/", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 303


@pytest.mark.parametrize(("column", "setting"), [("expires_at", 0.0), ("last_seen_at", 3600.0)])
def test_a_session_ends_at_its_time_and_when_nobody_came(
    visitor: TestClient, hub: HubContext, column: str, setting: float
) -> None:
    assert is_in(visitor)
    with hub.database.transaction() as session:
        row = session.exec(select(ConsoleSession)).one()
        setattr(row, column, utc_now() - timedelta(seconds=setting))
        session.add(row)
    assert not is_in(visitor)


def test_coming_back_keeps_a_session(visitor: TestClient, hub: HubContext) -> None:
    with hub.database.transaction() as session:
        row = session.exec(select(ConsoleSession)).one()
        before = row.last_seen_at = utc_now() - timedelta(minutes=50)
        session.add(row)
    assert is_in(visitor)
    with hub.database.session() as session:
        assert session.exec(select(ConsoleSession)).one().last_seen_at > before


@pytest.mark.parametrize("end", ["revoke", "expire", "disable"])
def test_a_tokens_end_ends_the_sessions_that_it_opened(visitor: TestClient, hub: HubContext, end: str) -> None:
    with hub.database.transaction() as session:
        row = session.exec(select(OperatorToken)).one()
        if end == "revoke":
            row.revoked_at = utc_now()
        elif end == "expire":
            row.expires_at = utc_now()
        else:
            user = session.get_one(User, row.user_id)
            user.disabled_at = utc_now()
            session.add(user)
        session.add(row)
    assert not is_in(visitor)


def test_disabling_a_user_or_another_password_ends_their_sessions(
    browser: TestClient, hub: HubContext, grace: str, token: str
) -> None:
    assert token, "there is an admin besides"
    log_in(browser)
    with hub.database.transaction() as session:
        reset_password(session, find_user(session, grace), "another long password", by="test")
    assert not is_in(browser)
    assert log_in(browser) == 401
    assert log_in(browser, password="another long password") == 303
    with hub.database.transaction() as session:
        disable_user(session, find_user(session, grace), by="test", now=utc_now())
    assert not is_in(browser)
    assert log_in(browser, password="another long password") == 401
    with hub.database.transaction() as session:
        enable_user(session, find_user(session, grace), by="test")
    assert not is_in(browser), "what was open before has ended for good"


def test_a_session_has_its_users_role_of_now(browser: TestClient, hub: HubContext, grace: str) -> None:
    log_in(browser)
    with hub.database.transaction() as session:
        set_role(session, find_user(session, grace), Role.VIEWER, by="test")
    assert "grace (viewer)" in browser.get("/").text


def test_a_session_may_no_more_than_the_token_that_opened_it(browser: TestClient, hub: HubContext) -> None:
    with hub.database.transaction() as session:
        user = create_user(session, "root", Role.ADMIN, password=None, by="test", now=utc_now())
        made = create_token(
            session,
            user,
            label="",
            role=Role.OPERATOR,
            scopes={Scope.DEVICES},
            life=timedelta(hours=1),
            by=None,
            now=utc_now(),
        )
    browser.post("/login", data={"token": made.text})
    assert "root (operator)" in browser.get("/").text
    assert browser.get("/console/devices").status_code == 403, "the token has no scope read"
    csrf = csrf_of(browser)
    wanted = {"csrf": csrf, "role": "admin", "days": "1", "scopes": ["devices", "admin"]}
    assert browser.post("/account/tokens", data=wanted).status_code == 200
    with hub.database.session() as session:
        rows = session.exec(select(OperatorToken).where(OperatorToken.id != made.row.id)).all()
    assert [(row.role, row.scopes) for row in rows] == [(Role.OPERATOR, ["devices"])]


def test_no_answer_tells_whether_there_is_such_a_user(browser: TestClient, hub: HubContext, grace: str) -> None:
    with hub.database.transaction() as session:
        create_user(session, "robot", Role.OPERATOR, password=None, by="test", now=utc_now())
        create_user(session, "root", Role.ADMIN, password=None, by="test", now=utc_now())
        gone = create_user(session, "gone", Role.OPERATOR, password=PASSWORD, by="test", now=utc_now())
        disable_user(session, gone, by="test", now=utc_now())
    tries = {grace: "wrong", "nobody": "wrong", "robot": "wrong", "gone": PASSWORD}
    answers = {browser.post("/login", data={"name": n, "password": p}).text for n, p in tries.items()}
    assert len(answers) == 1


def test_no_time_tells_whether_there_is_such_a_user(hub: HubContext, grace: str) -> None:
    def seconds(name: str) -> float:
        taken = []
        for _ in range(7):
            began = time.process_time()
            with pytest.raises(UnauthenticatedError):
                log_in_by_password(hub.database, name, "wrong", "10.0.0.1")
            taken.append(time.process_time() - began)
        return statistics.median(taken)

    known, unknown = seconds(grace), seconds("nobody")
    assert 0.5 < known / unknown < 2, "a missing hash would make it fifty times as fast"


def strict(hub: HubContext, **settings: float) -> HubContext:
    return replace(hub, settings=hub.settings.model_copy(update=settings))


def test_an_address_that_guesses_has_to_wait(hub: HubContext, grace: str) -> None:
    with open_browser(strict(hub, login_per_minute=2)) as browser:
        assert [log_in(browser, name=f"nobody{n}", password="x") for n in range(2)] == [401] * 2
        refused = browser.post("/login", data={"name": grace, "password": PASSWORD})
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "set-cookie" not in refused.headers


def test_guessing_one_account_from_many_addresses_has_to_wait(hub: HubContext, grace: str) -> None:
    app = create_app(strict(hub, account_login_per_minute=2))
    codes = []
    for number in range(3):
        with TestClient(app, base_url="https://testserver", client=(f"10.0.0.{number}", 1)) as one:
            form = {"name": grace, "password": "x"}
            codes.append(one.post("/login", data=form, headers={"sec-fetch-site": "same-origin"}).status_code)
    assert codes == [401, 401, 429]


def test_an_ipv6_host_is_counted_by_its_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::2:3:4:5") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("unknown") == "unknown"


def test_logins_that_come_at_once_do_not_take_every_thread() -> None:
    turns = Turns(at_once=1, waiting=1)
    waits = threading.Thread(target=lambda: turns.taken().__enter__())
    with turns.taken():
        waits.start()
        while turns._places._value:  # until it stands in line
            time.sleep(0.01)
        with pytest.raises(TooManyRequestsError), turns.taken():
            pass
    waits.join()


def test_one_address_cannot_lock_an_account_for_all_others(hub: HubContext, grace: str) -> None:
    app = create_app(strict(hub, login_per_minute=2, account_login_per_minute=3))
    same = {"sec-fetch-site": "same-origin"}

    def try_from(address: str, password: str) -> int:
        with TestClient(app, base_url="https://testserver", client=(address, 1), follow_redirects=False) as one:
            form = {"name": grace, "password": password}
            return one.post("/login", data=form, headers=same).status_code

    assert [try_from("10.0.0.1", "x") for _ in range(5)] == [401, 401, 429, 429, 429]
    assert try_from("10.0.0.2", PASSWORD) == 303
    assert hub.settings.login_per_minute < hub.settings.account_login_per_minute, "so by default too"


def test_a_refused_login_is_in_the_log_on_one_line_without_the_password(
    browser: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    log_in(browser, name="eve\nINFO all is well", password="not for the log")
    (record,) = [one for one in caplog.records if one.name == "shoal_hub.operators.login"]
    assert "\n" not in record.getMessage()
    assert "not for the log" not in caplog.text


def test_an_operator_makes_a_token_at_the_console_and_uses_it_until_it_is_withdrawn(
    browser: TestClient, hub: HubContext, grace: str
) -> None:
    log_in(browser)
    form = {"csrf": csrf_of(browser), "label": "<b>ci</b>", "role": "admin", "days": "30", "scopes": list(ALL_SCOPES)}
    page = browser.post("/account/tokens", data=form).text
    token = page.split("<pre>")[1].split("</pre>")[0]
    assert "<b>ci" not in page
    with TestClient(create_app(hub), headers={"authorization": f"Bearer {token}"}) as caller:
        me = caller.get("/api/v1/operator").json()
        assert (me["name"], me["role"]) == (grace, "operator"), "no more than the user's own role"
        assert token not in browser.get("/account").text
        browser.post(f"/account/tokens/{me['token_id']}/revoke", data={"csrf": form["csrf"]})
        assert caller.get("/api/v1/operator").status_code == 401


def test_nobody_withdraws_anothers_token_at_the_console(
    browser: TestClient, hub: HubContext, grace: str, token: str
) -> None:
    assert token, grace
    log_in(browser)
    with hub.database.session() as session:
        row = session.exec(select(OperatorToken)).one()
    assert browser.post(f"/account/tokens/{row.id}/revoke", data={"csrf": csrf_of(browser)}).status_code == 404


def test_a_password_is_changed_by_who_knows_the_present_one(browser: TestClient, hub: HubContext, grace: str) -> None:
    log_in(browser)
    with open_browser(hub) as other:
        log_in(other)
        form = {"csrf": csrf_of(browser), "current": "wrong", "new": "another long password"}
        assert browser.post("/account/password", data=form).status_code == 403
        assert is_in(browser)
        assert browser.post("/account/password", data=form | {"current": PASSWORD, "new": "short"}).status_code == 422
        assert browser.post("/account/password", data=form | {"current": PASSWORD}).headers["location"] == "/login"
        assert not is_in(other), "every session ends"
    assert log_in(browser, grace, "another long password") == 303
