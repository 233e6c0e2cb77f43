"""Signals say what every test says of the features that lead, of categories and embeddings as well."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.monitoring.test_drift import baseline, like_training, shifted, sketch, take
from tests.hub.monitoring.test_evidence import devices, look, say

from shoal_contract.embedding import EmbeddingBaseline, EmbeddingCounts
from shoal_contract.manifest import Baseline, FeatureBaseline
from shoal_hub.context import HubContext
from shoal_hub.monitoring.describe import moved_embedding
from shoal_hub.registry.tables import Version
from shoal_numerics import Embedding

__all__ = ["baseline", "devices"]
MADE = Embedding(7, 2.0)


@pytest.fixture
def mixed(hub: HubContext, baseline: Baseline) -> Baseline:
    """The version's baseline, whose first feature is a category of three and whose samples are embedded."""
    door = FeatureBaseline(
        name="door", edges=(-0.5, 0.5, 1.5, 2.5), counts=(0, 75, 45, 30, 0), kind="categorical", missing=0
    )
    embedding = EmbeddingBaseline(seed=7, scale=2.0, reference=MADE.sums(like_training(0, rows=2000)))
    features = (door, *baseline.features[1:])
    made = baseline.model_copy(update={"features": features, "embedding": embedding})
    with hub.database.transaction() as session:
        session.exec(select(Version)).one().baseline = made.model_dump(mode="json")
    return made


def doors(rows: np.ndarray[Any, Any], shares: list[float], seed: int) -> np.ndarray[Any, Any]:
    chosen = np.random.default_rng(seed).choice(3, len(rows), p=shares)
    return np.column_stack([chosen, rows[:, 1:]]).astype(np.float32)


def embedded(rows: np.ndarray[Any, Any]) -> EmbeddingCounts:
    return EmbeddingCounts.model_validate({"seed": 7} | MADE.sums(rows).model_dump())


def test_a_plain_signal_says_what_every_test_says(
    client: TestClient, hub: HubContext, mixed: Baseline, devices: list[str]
) -> None:
    rows = doors(shifted(1), [0.05, 0.05, 0.9], 1)
    take(hub, devices[0], sketch(mixed, rows, embedding=embedded(shifted(1))))
    [signal] = client.get("/api/v1/drift").json()
    told = {one["name"]: one for one in signal["features"]}
    door = told.pop("door")
    assert (door["kind"], door["chi_squared_degrees"]) == ("categorical", 2)
    assert door["chi_squared"] > 50
    assert (door["mean_change"], door["variance_ratio"]) == (None, None)
    assert door["seen_by"] == ["chi_squared", "psi"]
    for one in told.values():
        assert one["kind"] == "numeric"
        assert 0 < one["resolution"] < 0.2, "the floor stands beside the distance"
        assert one["raw_p_value"] <= one["p_value"] < 0.001
        assert one["jensen_shannon"] > one["jensen_shannon_floor"] > 0
        assert one["mean_change"] > 1
        assert one["seen_by"] == ["ks", "mean", "variance", "psi"]
        assert one["mean_p_value"] < 1e-6
        assert one["variance_ratio"] < 0.5
    assert signal["embedding"]["distance_squared"] > 10 * signal["embedding"]["floor"]
    assert signal["embedding"]["p_value"] < 0.01
    assert signal["embedding"]["samples"] == 150


def test_categories_alone_that_have_moved_raise_a_signal_where_a_version_has_few_features(
    hub: HubContext, mixed: Baseline, devices: list[str], client: TestClient
) -> None:
    one = mixed.model_copy(update={"features": mixed.features[:1], "embedding": None})
    with hub.database.transaction() as session:
        session.exec(select(Version)).one().baseline = one.model_dump(mode="json")
    usual, moved = (
        doors(like_training(seed), shares, seed)[:, :1] for seed, shares in ((1, [0.5, 0.3, 0.2]), (2, [0.1, 0.3, 0.6]))
    )
    take(hub, devices[0], sketch(one, usual))
    assert client.get("/api/v1/drift").json() == []
    take(hub, devices[1], sketch(one, moved))
    [signal] = client.get("/api/v1/drift").json()
    assert (signal["devices"], [feature["name"] for feature in signal["features"]]) == ([devices[1]], ["door"])


def test_an_embedding_like_the_references_has_not_moved_and_without_one_nothing_is_said(mixed: Baseline) -> None:
    found = moved_embedding([embedded(like_training(5)), embedded(like_training(6))], mixed)
    assert found is not None
    assert found["samples"] == 300
    assert found["p_value"] > 0.05
    assert moved_embedding([None], mixed) is None
    assert moved_embedding([embedded(like_training(5))], mixed.model_copy(update={"embedding": None})) is None


def test_a_controlled_signal_tells_of_how_many_samples_it_is(
    hub: HubContext, baseline: Baseline, devices: list[str], client: TestClient
) -> None:
    say(hub, devices[0], baseline, {}, 0)
    for seed in (1, 2):
        say(hub, devices[0], baseline, {1: 8.0 + seed}, seed)
    say(hub, devices[1], baseline, {1: 9.0}, 3)
    say(hub, devices[2], baseline, {}, 4)
    [signal] = look(hub)
    assert (signal.devices, signal.samples) == (sorted(devices[:2]), 3 * 150), "those since it had much to say"
    say(hub, devices[0], baseline, {}, 5)
    [signal] = look(hub)
    assert (signal.devices, signal.samples) == ([devices[1]], 150)
    shown = client.get("/api/v1/drift").json()[0]
    assert (shown["samples"], shown["embedding"]) == (150, None)
