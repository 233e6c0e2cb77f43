"""A prediction for an entity: its features come from the device's store, and the answer says how fresh they were."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import SeenRequests, served_tiny
from tests.fixtures import tiny

from shoal_agent.client import Client
from shoal_agent.errors import AgentError
from shoal_agent.features import Pipelines, read_entity
from shoal_agent.features.running import Surroundings
from shoal_agent.features.store import FeatureStore
from shoal_agent.serving import Inference, ModelServer, ServedModel, create_router
from shoal_agent.settings import FeatureSettings
from shoal_contract.features import CountWindow, Feature, FeatureDefinition
from shoal_contract.manifest import VersionManifest
from shoal_contract.processing import NumberFeature, Processing, TabularInput
from shoal_numerics.features import WindowRows

pytestmark = pytest.mark.anyio
AT_NS = 1_000_000_000_000
WINDOW = CountWindow(size=1, every=1)
ROW = [0.5, -1.0, 2.0, 0.25]


def feature(ttl_s: float = 60.0, fallback: float | None = None) -> Feature:
    return Feature(aggregate="mean", field="x", ttl_s=ttl_s, fallback=fallback)


DEFINITIONS = {
    "one": FeatureDefinition(window=WINDOW, features={"f0": feature(), "f1": feature(), "f2": feature()}),
    "two": FeatureDefinition(window=WINDOW, features={"f3": feature(ttl_s=5.0, fallback=9.0)}),
}


class Device:
    """A served model and a store, whose clock stands."""

    def __init__(self, folder: Path) -> None:
        self.now_ns = AT_NS
        self.store = FeatureStore(folder / "features.sqlite", FeatureSettings(), lambda: self.now_ns)
        self.server = ModelServer()
        self.pipelines = Pipelines(lambda: around, lambda *_: None)
        around = Surroundings(self.store, self.server, SeenRequests(), FeatureSettings(), lambda: self.now_ns)
        self.pipelines._around = around
        for name, definition in DEFINITIONS.items():
            self.store.define(name, definition)
        self.put("one", ROW[:3])
        self.put("two", ROW[3:])
        self.url = ""

    def put(self, definition: str, values: list[float], entity: str = "pump-7", age_s: float = 1.0) -> None:
        at_ns = np.array([self.now_ns - int(age_s * 1e9)])
        self.store.put(definition, WindowRows([entity], at_ns, at_ns, np.ones(1, dtype=np.int64), np.array([values])))

    async def predict(self, entity: str = "pump-7", **more: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            with Client(self.url) as agent:
                return agent.predict(entity_id=entity, model="tiny", **more)

        return await anyio.to_thread.run_sync(ask)


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    made = Device(tmp_path)
    await made.server.swap("tiny", served_tiny())
    inference = Inference(made.server, SeenRequests())
    router = create_router(inference, read_entity=lambda entity: read_entity(made.pipelines, entity))
    async with listening(router) as port:
        made.url = f"http://127.0.0.1:{port}"
        yield made
    await made.server.aclose()
    made.store.close()


async def test_an_entity_is_predicted_as_its_features_are_and_their_ages_are_told(device: Device) -> None:
    answer = await device.predict()
    expected = tiny.probabilities(np.array([ROW], dtype=np.float32))[0]
    assert (answer["label"], answer["confidence"]) == (expected.argmax(), pytest.approx(float(expected.max())))
    assert answer["entity_id"] == "pump-7"
    assert answer["features_age_s"] == {"f0": 1.0, "f1": 1.0, "f2": 1.0, "f3": 1.0}
    assert answer["fallbacks"] == []


async def test_a_fallback_stands_for_what_is_too_old_and_is_told(device: Device) -> None:
    device.now_ns += 10_000_000_000
    answer = await device.predict()
    expected = tiny.probabilities(np.array([[*ROW[:3], 9.0]], dtype=np.float32))[0]
    assert answer["confidence"] == pytest.approx(float(expected.max()))
    assert (answer["fallbacks"], answer["features_age_s"]["f3"], answer["features_age_s"]["f0"]) == (["f3"], None, 11.0)


async def refused(device: Device, status: int, reason: str, **more: Any) -> None:
    with pytest.raises(AgentError, match=f"{status}: .*{reason}"):
        await device.predict(**more)


async def test_what_is_too_old_and_has_no_fallback_is_refused(device: Device) -> None:
    device.now_ns += 100_000_000_000
    await refused(device, 422, "one/f0 was computed 101.0 s ago, too long, and there is no fallback; see GET /shoal/v1")


async def test_a_feature_without_a_value_yet_is_refused(device: Device) -> None:
    device.put("two", [1.0], entity="pump-8")
    await refused(device, 422, "one/f0 has no value yet, and there is no fallback", entity="pump-8")


async def test_an_entity_that_nothing_is_known_of_is_not_found(device: Device) -> None:
    await refused(device, 404, "features of entity 'pump-9': there are none; send its events", entity="pump-9")
    await refused(device, 404, "there are none", entity="p" * 200)


async def test_a_feature_that_nothing_computes_is_refused_with_those_that_there_are(device: Device) -> None:
    device.store.drop("two")
    await refused(device, 422, "takes the feature 'f3', the device computes one/f0, one/f1, one/f2; have it computed")


async def test_a_name_that_two_definitions_have_is_refused(device: Device) -> None:
    device.store.define("three", DEFINITIONS["two"])
    await refused(device, 422, "'f3', which three/f3 and two/f3 may be; name it as one")


async def test_features_and_an_entity_together_are_refused(device: Device) -> None:
    await refused(device, 422, "both features and an entity_id", features=ROW)


async def test_where_no_pipeline_runs_that_is_told(device: Device) -> None:
    device.pipelines._around = None
    await refused(device, 503, "no pipeline runs on this device; have the hub want one, or send the features")
    async with listening(create_router(Inference(device.server, SeenRequests()))) as port:
        device.url = f"http://127.0.0.1:{port}"
        await refused(device, 503, "none are kept here; send the features themselves")


def changed(**changes: object) -> ServedModel:
    served = served_tiny()
    fields = served.manifest.model_dump() | changes
    return replace(served, manifest=VersionManifest.model_validate(fields))


async def test_the_columns_of_a_declared_table_are_found_by_their_full_names(device: Device) -> None:
    names = ("one/f0", "one/f1", "one/f2", "f3")
    table = TabularInput(features=tuple(NumberFeature(name=name) for name in names))
    await device.server.swap("tiny", changed(processing=Processing(inputs={"x": table})))
    answer = await device.predict()
    assert list(answer["features_age_s"]) == list(names)


async def test_a_model_whose_baseline_is_of_statistics_has_no_features_by_name(device: Device) -> None:
    served = served_tiny()
    baseline = served.manifest.baseline.model_copy(update={"features_of": "statistics"})
    manifest = served.manifest.model_copy(update={"baseline": baseline})
    await device.server.swap("tiny", replace(served, manifest=manifest))
    await refused(device, 422, "takes tensors, not features by name")
