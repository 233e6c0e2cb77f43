"""Kept answers are this version's own, for as long as they are good, within their bound."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.agent.serving.conftest import GatedEngine, running, served_tiny
from tests.fixtures import tiny

from shoal_agent.engines import Array, bytes_array
from shoal_agent.serving.cache import PredictionCache
from shoal_agent.settings import ServingSettings

ROW = {"x": np.array([[0.5, -1.0, 2.0, 0.25]], dtype=np.float32)}
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW["x"].ravel().tolist()}]}


class Counting(GatedEngine):
    """An engine that counts its runs and shifts its answers."""

    runs = 0
    shift = 0.0

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.runs += 1
        return {name: array + np.float32(self.shift) for name, array in self.engine.infer(inputs).items()}


def test_a_key_tells_versions_variants_names_types_shapes_and_contents_apart() -> None:
    cache, x = PredictionCache(1000), np.zeros((2, 2), dtype=np.float32)
    first, second = served_tiny(1), served_tiny(2)
    keys = [
        cache.key(first, {"x": x}),
        cache.key(second, {"x": x}),
        cache.key(first, {"y": x}),
        cache.key(first, {"x": x.view(np.int32)}),
        cache.key(first, {"x": x.reshape(4, 1)}),
        cache.key(first, {"x": x + 1}),
        cache.key(first, {"x": bytes_array([b"ab", b"c"])}),
        cache.key(first, {"x": bytes_array([b"a", b"bc"])}),
        cache.key(first, {"x": x, "y": x}),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(first, {"x": x, "y": x}) == cache.key(first, {"y": x.copy(), "x": x.copy()})


def test_an_answer_is_good_for_its_time_and_no_longer() -> None:
    now = 0.0
    cache = PredictionCache(10_000, ttl_s=60.0, clock_s=lambda: now)
    cache.put(b"k", ROW)
    now = 59.9
    assert cache.get(b"k", served_tiny()) is ROW
    now = 60.0
    assert cache.get(b"k", served_tiny()) is None
    assert cache.counts() == (1, 1, 0, 0)
    assert cache.counts().hit_rate == 0.5


@pytest.mark.anyio
async def test_a_swap_under_a_warm_cache_answers_with_the_new_version_and_back_with_the_old_one() -> None:
    old, new = Counting(served_tiny().engine), Counting(served_tiny().engine)
    new.shift = 1.0
    async with running(ServingSettings(cache_bytes=100_000)) as endpoint:

        async def ask() -> tuple[str, float]:
            answer = (await endpoint.infer(BODY)).json()
            return answer["model_version"], answer["outputs"][0]["data"][0]

        await endpoint.server.swap("tiny", served_tiny(1, old))
        one = [await ask() for _ in range(3)]
        await endpoint.server.swap("tiny", served_tiny(2, new))
        two = [await ask() for _ in range(3)]
        await endpoint.server.swap("tiny", served_tiny(1, Counting(served_tiny().engine)))
        three = await ask()
    expected = float(tiny.probabilities(ROW["x"])[0, 0])
    assert one == [("1", pytest.approx(expected))] * 3
    assert two == [("2", pytest.approx(expected + 1))] * 3
    assert three == one[0]
    assert (old.runs, new.runs) == (1, 1)
    assert len(endpoint.seen.answered) == 7, "what comes from the cache is seen, too"
    assert len(set(endpoint.seen.ids)) == 7, "and has an id of its own"


class Model(RuleBasedStateMachine):
    """The cache against a list of what was put, newest use last."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = PredictionCache(3000)
        self.served = served_tiny()
        self.held: dict[bytes, Mapping[str, Array]] = {}

    @rule(key=st.sampled_from([b"a", b"b", b"c", b"d"]), size=st.integers(0, 2500))
    def put(self, key: bytes, size: int) -> None:
        outputs = {"y": np.zeros(size, dtype=np.uint8)}
        self.cache.put(key, outputs)
        if size + 600 <= 3000:
            self.held.pop(key, None)
            while sum(len(one["y"]) + 600 for one in self.held.values()) + size + 600 > 3000:
                self.held.pop(next(iter(self.held)))
            self.held[key] = outputs

    @rule(key=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def get(self, key: bytes) -> None:
        found = self.cache.get(key, self.served)
        assert found is self.held.get(key)
        if found is not None:
            self.held[key] = self.held.pop(key)

    @invariant()
    def bound_holds(self) -> None:
        counts = self.cache.counts()
        assert counts.held_bytes == sum(len(one["y"]) + 600 for one in self.held.values()) <= 3000
        assert counts.entries == len(self.held)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30)
