"""Online features over the API: views, values, what is shown of old ones, and who may do what."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.simulators.redis_process import RedisProcess

from shoal_contract.feature_views import FeatureView
from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.online_features.online import OnlineFeatures
from shoal_hub.online_features.store import OnlineRow
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token

RIDES = {"features": {"fare": {"fallback": 7.5}, "city": None, "rate": {"ttl_s": 60}}}


def define(client: TestClient, **changes: Any) -> Any:
    return client.put("/api/v1/online-features/rides", json=RIDES | changes)


def put(client: TestClient, *rows: dict[str, Any], view: str = "rides") -> Any:
    return client.put(f"/api/v1/online-features/{view}/values", json={"rows": list(rows)})


def row(entity: str = "u1", ago_s: float = 0.0, **values: Any) -> dict[str, Any]:
    return {"entity": entity, "at": (utc_now() - timedelta(seconds=ago_s)).isoformat(), "values": values}


def get(client: TestClient, *entities: str, **params: Any) -> Any:
    answer = client.get("/api/v1/online-features/rides/values", params={"entity": entities, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_values_are_read_as_they_were_written(client: TestClient) -> None:
    assert define(client).status_code == 200
    assert put(client, row("u1", fare=3.5, city="Bern", rate=2), row("u2", fare=1)).json() == {"rows": 2, "kept": 2}
    first, second = get(client, "u1", "u2")
    assert {name: one["value"] for name, one in first["features"].items()} == {"fare": 3.5, "city": "Bern", "rate": 2}
    assert all(one["is_fresh"] and 0 <= one["age_s"] < 60 for one in first["features"].values())
    assert (second["features"]["city"]["value"], second["features"]["city"]["is_fresh"]) == (None, False)


def test_a_feature_is_a_day_good_unless_it_says_otherwise(sqlite_client: TestClient) -> None:
    define(sqlite_client)
    put(sqlite_client, row("young", 23 * 3600, fare=1, rate=1), row("old", 25 * 3600, fare=1))
    young, old, nobody = get(sqlite_client, "young", "old", "nobody")
    assert (young["features"]["fare"]["value"], young["features"]["rate"]["value"]) == (1, None)
    fare = old["features"]["fare"]
    assert (fare["value"], fare["is_fresh"], fare["is_fallback"], old["is_known"]) == (7.5, False, True, True)
    assert fare["age_s"] == pytest.approx(25 * 3600, abs=60)
    assert (nobody["is_known"], nobody["features"]["fare"]["value"], nobody["features"]["fare"]["at"]) == (
        False,
        7.5,
        None,
    )


def test_some_features_may_be_asked_for_and_others_are_not_there(sqlite_client: TestClient) -> None:
    define(sqlite_client)
    put(sqlite_client, row(fare=1))
    assert list(get(sqlite_client, "u1", feature=["fare"])[0]["features"]) == ["fare"]
    answer = sqlite_client.get("/api/v1/online-features/rides/values", params={"entity": "u1", "feature": "fair"})
    assert (answer.status_code, "there is no feature fair" in answer.text) == (422, True)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (row(fair=1), "there is no feature fair, only city, fare, rate"),
        ({"entity": "", "at": "2026-01-01T00:00:00Z", "values": {}}, "entity"),
        ({"entity": "u", "at": "2026-01-01T00:00:00", "values": {}}, "timezone"),
        ({"entity": "u", "at": "1969-01-01T00:00:00Z", "values": {}}, "greater than or equal"),
        (row(fare=[1]), "values"),
    ],
)
def test_a_row_that_is_none_is_refused_and_none_of_its_batch_is_kept(
    sqlite_client: TestClient, wrong: dict[str, Any], says: str
) -> None:
    define(sqlite_client)
    answer = put(sqlite_client, row("u1", fare=1), wrong)
    assert answer.status_code in {400, 422}
    assert says in answer.text
    assert not get(sqlite_client, "u1")[0]["is_known"]


def test_a_view_changes_and_keeps_its_values(client: TestClient) -> None:
    define(client)
    put(client, row(fare=1, rate=2))
    assert define(client, features={"fare": {"fallback": 0}}).status_code == 200
    assert {name: one["value"] for name, one in get(client, "u1")[0]["features"].items()} == {"fare": 1}
    assert [one["name"] for one in client.get("/api/v1/online-features").json()] == ["rides"]


def test_a_view_that_is_forgotten_takes_its_values_along(client: TestClient) -> None:
    define(client)
    put(client, row(fare=1))
    assert client.delete("/api/v1/online-features/rides").status_code == 200
    assert client.get("/api/v1/online-features/rides").status_code == 404
    assert put(client, row(fare=1)).status_code == 404
    define(client)
    assert not get(client, "u1")[0]["is_known"]


def test_a_misspelt_field_of_a_view_is_refused(sqlite_client: TestClient) -> None:
    answer = define(sqlite_client, features={"fare": {"fallbck": 1}})
    assert answer.status_code in {400, 422}
    assert "fallbck" in answer.text


def test_a_viewer_reads_and_writes_nothing(sqlite_hub: HubContext, sqlite_client: TestClient) -> None:
    define(sqlite_client)
    put(sqlite_client, row(fare=1))
    with sqlite_hub.database.transaction() as session:
        token = create_operator_token(session, "vera", Role.VIEWER)
    with TestClient(create_app(sqlite_hub), headers={"Authorization": f"Bearer {token}"}) as viewer:
        assert get(viewer, "u1")[0]["features"]["fare"]["value"] == 1
        assert [define(viewer).status_code, put(viewer, row(fare=2)).status_code] == [403, 403]


def test_values_may_be_kept_in_a_redis(sqlite_hub: HubContext, sqlite_client: TestClient, redis: RedisProcess) -> None:
    settings = sqlite_hub.settings.model_copy(update={"online_features_url": redis.url})
    hub = replace(sqlite_hub, settings=settings)
    with TestClient(create_app(hub), headers=dict(sqlite_client.headers)) as caller:
        define(caller)
        put(caller, row("of-redis", fare=1))
        assert get(caller, "of-redis")[0]["features"]["fare"]["value"] == 1
    hub.online_features.close()
    assert not get(sqlite_client, "of-redis")[0]["is_known"], "the file knows nothing of it"


def test_another_process_sees_a_changed_view_within_a_second(sqlite_hub: HubContext, sqlite_client: TestClient) -> None:
    define(sqlite_client)
    now_s = [5.0]
    other = OnlineFeatures(sqlite_hub.settings, sqlite_hub.database, monotonic_s=lambda: now_s[0])
    assert "rate" in other.view("rides").features
    define(sqlite_client, features={"fare": {}})
    now_s[0] += 1.01
    assert list(other.view("rides").features) == ["fare"]


def test_a_view_of_a_definition_has_the_features_that_devices_compute(sqlite_hub: HubContext) -> None:
    from tests.simulators.feature_sets import VIBRATION

    from shoal_contract.features import FeatureDefinition

    definition = FeatureDefinition.model_validate(VIBRATION)
    view = FeatureView.of(definition)
    assert view.features == definition.features
    online = sqlite_hub.online_features
    online.store.write("pumps", [OnlineRow("p", 0, {"level": 1.0})], 1.0)
    assert view.longest_ttl_s == 3600.0
    online.close()
