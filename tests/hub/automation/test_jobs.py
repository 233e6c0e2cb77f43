"""The jobs: two versions held against each other on samples that trained neither, and fine-tuning at the hub."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sqlmodel import select
from tests.hub.automation.loops import add_variant
from tests.hub.captures.samples import add_capture, npz, packed
from tests.hub.registry.bundles import WEIGHTS, make_onnx, register_bundle, write_bundle
from tests.simulators.rows import NOON, add_device
from tests.training.small_bundle import small_bundle

from shoal_hub.automation.evaluate import EvaluateResult
from shoal_hub.automation.evaluate import run as evaluate
from shoal_hub.automation.samples import is_held_out
from shoal_hub.automation.train import run as train
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.errors import JobError
from shoal_hub.jobs.kinds import code_of
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.inspection import inspect
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.register import RegisterRequest, read_checked_bundle, register
from shoal_hub.registry.tables import Version
from shoal_training.digits import digits_splits

SINCE = (NOON - timedelta(hours=1)).isoformat()
BLIND = -WEIGHTS
"""Of a model that is nearly always wrong."""


def work(hub: HubContext, folder: Path, **params: Any) -> JobWork:
    folder.mkdir(parents=True, exist_ok=True)
    return JobWork("j-1", params, "automation/learn", folder, hub.settings, hub.database, hub.artifacts)


def capture(hub: HubContext, count: int, *, model: str = "colours", **changes: Any) -> list[str]:
    """Have samples come in, whose true labels are what the true weights say, unless another one is given."""
    random, ids = np.random.default_rng(4), []
    with hub.database.transaction() as session:
        device = add_device(session).id
        for number in range(count):
            x = random.normal(size=(1, 4)).astype(np.float32)
            stored = hub.artifacts.put(packed(number, npz(features=x), model=model))
            fields = {"true_label": int((x @ WEIGHTS).argmax()), "name": f"c-{number}", "at": NOON} | changes
            named = {"model": model, "sha256": stored.sha256, "size_bytes": stored.size_bytes}
            ids.append(add_capture(session, hub.artifacts, device, **named, **fields).id)
    return ids


@pytest.fixture
def versions(sqlite_hub: HubContext, tmp_path: Path) -> HubContext:
    """Version 1 is wrong, version 2 is right."""
    for number, weights in enumerate((BLIND, WEIGHTS), 1):
        register_bundle(sqlite_hub, write_bundle(tmp_path / str(number), model_onnx=make_onnx(weights)))
    return sqlite_hub


def compare(hub: HubContext, folder: Path, **changes: Any) -> EvaluateResult:
    params = {"model": "colours", "champion": 1, "candidate": 2, "captured_since": SINCE} | changes
    return evaluate(work(hub, folder, **params))


def test_both_are_run_on_the_bundles_samples_and_on_captured_ones(versions: HubContext, tmp_path: Path) -> None:
    capture(versions, 30)
    scores = {one.source: one for one in compare(versions, tmp_path / "job").scores}
    assert (scores["bundle"].samples, scores["bundle"].candidate) == (50, 50)
    assert (scores["captured"].samples, scores["captured"].candidate) == (30, 30)
    assert scores["bundle"].champion < 10
    assert scores["captured"].champion < 10
    assert not (tmp_path / "job" / "versions").exists(), "nothing is left behind"


def test_each_variant_that_both_have_is_run_as_well(versions: HubContext, tmp_path: Path) -> None:
    with versions.database.transaction() as session:
        add_variant(session, versions, "colours", 1, make_onnx(BLIND))
        add_variant(session, versions, "colours", 2, make_onnx(BLIND))
    forms = {one.form: one for one in compare(versions, tmp_path / "job").scores}
    assert forms["original"].candidate == 50
    assert forms["generic-onnx-int8"].candidate < 10, "what devices would run is as bad as before"


def argmax_onnx(weights: np.ndarray[Any, Any]) -> bytes:
    """Return a model whose only output is the class itself, in one column."""
    proto = onnx.load_from_string(make_onnx(weights))
    proto.graph.node[1].CopyFrom(helper.make_node("ArgMax", ["scores"], ["class"], axis=1))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("class", TensorProto.INT64, [None, 1]))
    return bytes(proto.SerializeToString())


def test_models_that_answer_with_the_class_itself_are_compared_by_it(sqlite_hub: HubContext, tmp_path: Path) -> None:
    outputs = [{"name": "class", "datatype": "INT64", "shape": [-1, 1]}]
    for number, weights in enumerate((BLIND, WEIGHTS), 1):
        folder = tmp_path / str(number)
        register_bundle(sqlite_hub, write_bundle(folder, model_onnx=argmax_onnx(weights), outputs=outputs, labels=[]))
        with sqlite_hub.database.transaction() as session:
            add_variant(session, sqlite_hub, "colours", number, argmax_onnx(weights))
    scores = compare(sqlite_hub, tmp_path / "job").scores
    assert {one.form: one.candidate for one in scores} == {"original": 50, "generic-onnx-int8": 50}
    assert all(one.champion < 10 for one in scores)


def test_samples_without_a_label_of_before_or_of_no_class_are_left_out(versions: HubContext, tmp_path: Path) -> None:
    capture(versions, 5, true_label=None)
    capture(versions, 5, true_label=7)
    capture(versions, 5, at=NOON - timedelta(days=2))
    assert [one.source for one in compare(versions, tmp_path / "job").scores] == ["bundle"]


def test_where_captures_train_only_those_kept_out_judge(versions: HubContext, tmp_path: Path) -> None:
    ids = capture(versions, 60)
    kept_out = sum(map(is_held_out, ids))
    assert 5 < kept_out < 40
    scores = compare(versions, tmp_path / "job", is_trained_on_captures=True).scores
    assert [one.samples for one in scores if one.source == "captured"] == [kept_out]


def test_versions_of_other_labels_are_not_compared(versions: HubContext, tmp_path: Path) -> None:
    with versions.database.transaction() as session:
        row = session.exec(select(Version).where(Version.number == 2)).one()
        row.labels = ["a", "b", "c"]
        session.add(row)
    with pytest.raises(JobError, match="inputs, outputs or labels differ"):
        compare(versions, tmp_path / "job")


def test_the_kinds_are_known_to_the_jobs() -> None:
    assert code_of("evaluate") is evaluate
    assert code_of("train") is train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    return small_bundle(tmp_path_factory, worker_id)


@pytest.mark.slow
def test_the_champion_is_fine_tuned_on_captured_samples_and_is_better_on_those_kept_out(
    sqlite_hub: HubContext, trained: Path, tmp_path: Path
) -> None:
    bundle = read_checked_bundle(trained, "digits")
    inspection = inspect(trained, BundleLimits())
    with sqlite_hub.database.transaction() as session:
        register(session, sqlite_hub.artifacts, trained, bundle, inspection, RegisterRequest(), by="ada", now=utc_now())
        device = add_device(session).id
        part = digits_splits(3).device
        for number, (x, label) in enumerate(zip(part.x[:400], part.y[:400], strict=True)):
            backlit = np.clip(x * 0.5 + 0.4, 0, 1).astype(np.float32)
            stored = sqlite_hub.artifacts.put(packed(number, npz(image=backlit)))
            named = {"sha256": stored.sha256, "size_bytes": stored.size_bytes, "name": f"c-{number}"}
            add_capture(session, sqlite_hub.artifacts, device, true_label=int(label), **named)
    params = {"min_labelled": 100, "epochs": 8, "batch_size": 16, "learning_rate": 0.05, "parent_share": 0.1}
    made = train(
        work(sqlite_hub, tmp_path / "train", model="digits", version=1, captured_since=SINCE, policy="learn", **params)
    )
    assert (made.version, made.captured == made.samples) == (2, True)
    with sqlite_hub.database.session() as session:
        row = session.exec(select(Version).where(Version.number == 2)).one()
    assert row.provenance["parent_version"] == 1
    assert row.provenance["recipe"]["policy"] == "learn"
    assert row.created_by == "automation/learn"
    asked = {"model": "digits", "champion": 1, "candidate": 2, "captured_since": SINCE, "is_trained_on_captures": True}
    scores = {one.source: one for one in evaluate(work(sqlite_hub, tmp_path / "compare", **asked)).scores}
    assert scores["captured"].samples + made.captured == 400, "none does both"
    assert scores["captured"].gain > 0.1
    with pytest.raises(JobError, match="1000 are asked for"):
        train(
            work(
                sqlite_hub,
                tmp_path / "again",
                **{"model": "digits", "version": 1, "captured_since": SINCE} | params | {"min_labelled": 1000},
            )
        )
