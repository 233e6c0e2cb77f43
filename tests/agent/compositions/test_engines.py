"""Cascades ask the large model only about samples that the small one is not sure of; ensembles ask all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.compositions.conftest import ROWS, Models, cascade, ensemble, weighted
from tests.agent.serving.conftest import SeenRequests

from shoal_agent.compositions.engines import Asking, CascadeEngine, ComposedEngine, EnsembleEngine
from shoal_agent.compositions.fit import fit
from shoal_agent.engines import Array, EngineError
from shoal_agent.serving import ServedModel
from shoal_agent.serving.parameters import ANSWERED_BY
from shoal_contract.compositions import DesiredComposition, Ensemble


def made(wanted: DesiredComposition, *members: ServedModel, seen: SeenRequests | None = None) -> ComposedEngine:
    fitted, asking = fit(wanted, members), Asking(seen or SeenRequests())
    if isinstance(wanted.form, Ensemble):
        return EnsembleEngine(wanted.form, fitted, asking, lambda: None)
    return CascadeEngine(wanted.form, fitted, asking, lambda: None)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Members that are loaded once for many examples."""
    models = Models(Path(tmp_path_factory.mktemp("models")))
    for name in ("s", "middle", "large-one"):
        models.member(name)
    return models


def of(models: Models, *names: str) -> list[ServedModel]:
    """Return members with their engines of `kept`."""
    found = []
    for name in names:
        engine = models.engines[name, 1]
        found.append(models.member(name))
        models.engines[name, 1] = engine
        found[-1] = ServedModel(name, 1, found[-1].target, found[-1].manifest, found[-1].manifest_sha256, engine)
    return found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), samples=st.integers(1, 17), confidence=st.floats(0.5, 1.0), cut=st.integers(1, 16))
def test_a_cascade_is_what_each_sample_gets_by_itself_however_a_batch_is_split(
    kept: Models, seed: int, samples: int, confidence: float, cut: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(samples, ROWS.shape[1])).astype(np.float32)
    members = of(kept, "s", "middle", "large-one")
    engine = made(cascade(confidence, "s", "middle", "large-one"), *members)
    whole = engine.infer({"image": rows})
    expected, by = _one_by_one(kept, members, rows, confidence)
    np.testing.assert_allclose(whole["probabilities"], expected, atol=1e-6)
    assert whole[ANSWERED_BY].tolist() == by
    parts = [engine.infer({"image": part}) for part in (rows[:cut], rows[cut:]) if len(part)]
    for name, array in whole.items():
        np.testing.assert_allclose(np.concatenate([part[name] for part in parts]), array, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(weights=st.lists(st.floats(0.1, 10), min_size=3, max_size=3), samples=st.integers(1, 9))
def test_an_ensemble_is_the_weighted_mean_of_what_its_members_say(
    kept: Models, weights: list[float], samples: int
) -> None:
    members = of(kept, "s", "middle", "large-one")
    wanted = weighted(ensemble("s", "middle", "large-one"), *weights)
    found = made(wanted, *members).infer({"image": ROWS[:samples]})
    answers = np.stack([kept.answer(member, ROWS[:samples]) for member in members])
    np.testing.assert_allclose(found["probabilities"], np.average(answers, axis=0, weights=weights), atol=1e-6)


def test_the_large_model_runs_only_for_samples_that_are_unsure(models: Models) -> None:
    small, large = models.member("small"), models.member("large")
    sure = models.answer(small).max(axis=1)
    threshold = float(np.sort(sure)[4])  # four of nine are below
    seen = SeenRequests()
    engine = made(cascade(threshold, "small", "large"), small, large, seen=seen)
    outputs = engine.infer({"image": ROWS})
    assert (models.engines["small", 1].asked, models.engines["large", 1].asked) == ([9], [4])
    assert outputs[ANSWERED_BY].tolist() == (sure < np.float32(threshold)).astype(int).tolist()
    assert [len(inputs["image"]) for inputs, _, _ in seen.answered] == [9, 4]
    engine.infer({"image": ROWS[sure >= np.float32(threshold)]})
    assert (models.engines["small", 1].asked, models.engines["large", 1].asked) == ([9, 5], [4])


def test_a_member_that_fails_is_told_as_its_own_failure(models: Models) -> None:
    small, large = models.member("small"), models.member("large")
    seen = SeenRequests()
    large.engine.close()
    with pytest.raises(EngineError):
        made(ensemble("small", "large"), small, large, seen=seen).infer({"image": ROWS})
    assert (len(seen.answered), seen.errors) == (1, ["large"])


def test_a_vote_of_models_is_a_share_of_votes(models: Models) -> None:
    members = [models.member(name) for name in ("a", "bb", "ccc")]
    wanted = ensemble("a", "bb", "ccc", combine="vote")
    shares = made(wanted, *members).infer({"image": ROWS})["probabilities"]
    votes = np.stack([np.eye(2)[models.answer(member).argmax(axis=1)] for member in members])
    np.testing.assert_allclose(shares, votes.mean(axis=0), atol=1e-6)


def _one_by_one(
    models: Models, members: list[ServedModel], rows: Array, confidence: float
) -> tuple[list[list[float]], list[int]]:
    """What a cascade is, by its definition."""
    expected, by = [], []
    for row in rows:
        for place, member in enumerate(members):
            scores = models.answer(member, row[np.newaxis])[0]
            if place == len(members) - 1 or scores.max() >= confidence:
                expected.append(scores.tolist())
                by.append(place)
                break
    return expected, by
