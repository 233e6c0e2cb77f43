"""Requests that wait are answered together where that was measured to pay, and each gets its own answer."""

import threading
from collections.abc import Mapping

import anyio
import anyio.to_thread
import numpy as np
import pytest
from tests.agent.serving.conftest import GatedEngine, running, served_pair, served_tiny
from tests.agent.serving.echo import EchoEngine, served_echo
from tests.fixtures import tiny

from shoal_agent.engines import Array, EngineError, EngineSetup
from shoal_agent.engines.joining import best_together, can_join, join, split
from shoal_agent.serving import ServingSettings

pytestmark = pytest.mark.anyio
ONE = {"x": np.zeros((1, 4), dtype=np.float32)}


class Priced(GatedEngine):
    """An engine whose runs take a fixed time and one for each sample, by a clock of its own."""

    fixed_s = 0.0
    sample_s = 0.0
    now_s = 0.0

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.now_s += self.fixed_s + len(inputs["x"]) * self.sample_s
        return self.engine.infer(inputs)


@pytest.mark.parametrize(
    ("fixed_s", "sample_s", "expected"), [(0.002, 0.00001, 8), (0.001, 0.001, 2), (0.00001, 0.001, 1), (1.0, 0.0, 1)]
)
def test_it_pays_where_a_run_costs_more_than_its_samples(fixed_s: float, sample_s: float, expected: int) -> None:
    engine = Priced(served_tiny().engine)
    engine.fixed_s, engine.sample_s = fixed_s, sample_s
    assert can_join(engine)
    assert best_together(engine, ONE, clock_s=lambda: engine.now_s) == expected


def test_a_model_that_is_less_open_than_it_says_answers_each_request_by_itself() -> None:
    class Fixed(GatedEngine):
        def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            if len(inputs["x"]) > 1:
                raise EngineError("the file takes one sample")
            return self.engine.infer(inputs)

    assert best_together(Fixed(served_tiny().engine), ONE) == 1


def test_what_is_joined_is_split_again() -> None:
    parts = [{"a": np.full((n, 2), n), "b": np.full((n, 1, 3), -n)} for n in (1, 3, 2)]
    again = split(join(parts), [1, 3, 2])
    assert again is not None
    for part, other in zip(parts, again, strict=True):
        for name, array in part.items():
            np.testing.assert_array_equal(array, other[name])
    assert split({"a": np.zeros((1, 2))}, [1, 3, 2]) is None


async def test_requests_that_wait_are_run_once_and_each_gets_its_own_answer() -> None:
    class Noting(GatedEngine):
        def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            self.entered.release()
            assert self.gate.wait(10)
            sizes.append(len(inputs["x"]))
            return self.engine.infer(inputs)

    sizes: list[int] = []
    engine = Noting(served_tiny().engine, together=8)
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    answers: dict[int, list[float]] = {}
    async with running(ServingSettings(workers=1, in_place_ms=0)) as endpoint:
        await endpoint.server.swap("tiny", served_tiny(1, engine))

        async def ask(n: int, count: int) -> None:
            data = np.tile(rows[n], count).tolist()
            tensor = {"name": "x", "datatype": "FP32", "shape": [count, 4], "data": data}
            answer = await endpoint.infer({"inputs": [tensor]})
            answers[n] = answer.json()["outputs"][0]["data"]

        async with anyio.create_task_group() as group:
            group.start_soon(ask, 0, 1)
            await engine.wait_entered()
            for n in range(1, 6):
                group.start_soon(ask, n, n)
            await endpoint.wait_for_waiting(5)
            engine.gate.set()
    assert sizes == [1, 15]
    for n, answer in answers.items():
        expected = np.tile(tiny.probabilities(rows[n : n + 1]), (max(n, 1), 1))
        np.testing.assert_allclose(np.reshape(answer, (-1, 3)), expected, atol=1e-6)


async def test_one_bad_request_among_those_that_run_together_is_refused_alone() -> None:
    engine = GatedEngine(served_tiny().engine, together=8)
    statuses: dict[str, int] = {}
    good: dict[str, object] = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}
    async with running(ServingSettings(workers=1, in_place_ms=0)) as endpoint:
        await endpoint.server.swap("tiny", served_tiny(1, engine))

        async def ask(name: str, tensor: dict[str, object]) -> None:
            statuses[name] = (await endpoint.infer({"inputs": [tensor]})).status_code

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "first", good)
            await engine.wait_entered()
            for name, tensor in (("good", good), ("bad", good | {"data": [0.0]}), ("better", good)):
                group.start_soon(ask, name, tensor)
            await endpoint.wait_for_waiting(3)
            engine.gate.set()
    assert statuses == {"first": 200, "good": 200, "bad": 400, "better": 200}


async def test_requests_whose_inputs_differ_in_their_samples_are_not_mixed_with_others() -> None:
    class Rows(EchoEngine):
        """Answers the rows of its first input, whatever the second has."""

        def __init__(self) -> None:
            super().__init__("FP32", (-1, 1))
            self.setup = EngineSetup("rows", together=8)
            other = self.inputs[0].model_copy(update={"name": "other"})
            self.inputs = (*self.inputs, other)  # type: ignore[assignment]
            self.gate, self.entered = threading.Event(), threading.Semaphore(0)

        def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            self.entered.release()
            assert self.gate.wait(10)
            return {"y": inputs["x"] + (inputs["other"][0] if len(inputs["other"]) else 0)}

    engine, answers = Rows(), {}
    async with running(ServingSettings(workers=1, in_place_ms=0)) as endpoint:
        await endpoint.server.swap("rows", served_echo("rows", engine))

        async def ask(name: str, xs: list[float], others: list[float]) -> None:
            tensors = [
                {"name": name_of, "datatype": "FP32", "shape": [len(values), 1], "data": values}
                for name_of, values in (("x", xs), ("other", others))
            ]
            answers[name] = (await endpoint.infer({"inputs": tensors}, "/v2/models/rows/infer")).json()

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "first", [0.0], [0.0])
            await anyio.to_thread.run_sync(engine.entered.acquire)
            group.start_soon(ask, "longer", [1.0, 1.0], [10.0])
            group.start_soon(ask, "victim", [2.0], [20.0])
            group.start_soon(ask, "shorter", [3.0], [30.0, 30.0])
            await endpoint.wait_for_waiting(3)
            engine.gate.set()
    assert {name: answer["outputs"][0]["data"] for name, answer in answers.items()} == {
        "first": [0.0],
        "longer": [11.0, 11.0],
        "victim": [22.0],
        "shorter": [33.0],
    }


def test_models_of_several_inputs_may_join_and_those_of_a_fixed_batch_may_not() -> None:
    assert can_join(served_pair().engine)
    fixed = GatedEngine(served_tiny().engine)
    spec = fixed.engine.inputs[0].model_copy(update={"shape": (1, 4)})

    class Fixed(GatedEngine):
        @property
        def inputs(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return (spec,)

    assert not can_join(Fixed(served_tiny().engine))
