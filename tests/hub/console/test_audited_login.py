"""Who came in by the console is in the audit trail."""

import json

from fastapi.testclient import TestClient
from tests.hub.audit.trail import read

from shoal_hub.context import HubContext


def test_a_login_is_recorded_with_who_and_how_and_a_refused_one_is_not(
    stranger: TestClient, sqlite_client: TestClient, sqlite_hub: HubContext
) -> None:
    before = len(read(sqlite_hub.database))
    assert stranger.post("/login", data={"token": "shoal_wrong"}, headers=_FROM_HERE).status_code == 401
    assert len(read(sqlite_hub.database)) == before
    token = str(sqlite_client.headers["authorization"]).removeprefix("Bearer ")
    assert stranger.post("/login", data={"token": token}, headers=_FROM_HERE, follow_redirects=False).status_code == 303
    entry = read(sqlite_hub.database)[-1]
    assert (entry.action, entry.actor_name, entry.subject) == ("operators.log_in", "ada", "users/ada")
    assert json.loads(entry.after)["by"].startswith("token op-")
    assert token not in entry.after


_FROM_HERE = {"sec-fetch-site": "same-origin"}
