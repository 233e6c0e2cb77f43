"""The truth about a composition's answer counts for the composition, and for the members whose answers were used."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from tests.agent.compositions.conftest import ROWS, Models, cascade, ensemble
from tests.agent.endpoints import listening
from tests.agent.trials.conftest import START

from shoal_agent.compositions import Compositions, composition_families
from shoal_agent.label_api import label_routes
from shoal_agent.monitor import Monitor
from shoal_agent.serving import Inference, ModelServer, ServedModel, ServingSettings, create_router
from shoal_agent.serving.answer_bytes import decode_outputs, encode_outputs
from shoal_agent.serving.parameters import are_of_members
from shoal_contract.compositions import DesiredComposition
from shoal_contract.desired import DesiredConfig

pytestmark = pytest.mark.anyio
LATER, ALL = START + timedelta(seconds=100), DesiredConfig(window_s=1)


@dataclass
class Told:
    """A composition at an endpoint where its answers can be labelled."""

    client: httpx.AsyncClient
    monitor: Monitor
    server: ModelServer
    compositions: Compositions

    async def infer(self, rows: Any = ROWS, name: str = "both") -> tuple[str, np.ndarray[Any, np.dtype[np.int64]]]:
        """Ask once; return the answer's id and the predicted labels."""
        tensor = {"name": "image", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
        answer = await self.client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        scores = np.array(answer.json()["outputs"][0]["data"]).reshape(len(rows), 2)
        return str(answer.json()["id"]), scores.argmax(axis=1)

    async def tell(self, answer_id: str, labels: Any) -> httpx.Response:
        return await self.client.post("/feedback", json={"request_id": answer_id, "labels": labels.tolist()})

    def windows(self) -> dict[str, tuple[int, int]]:
        """Return what was labelled and right of each model, in windows that end now."""
        return {one.model: (one.labelled, one.correct) for one in self.monitor.take_windows(LATER, ALL)}


@asynccontextmanager
async def telling(
    wanted: DesiredComposition,
    *members: ServedModel,
    settings: ServingSettings = ServingSettings(),  # noqa: B008
) -> AsyncIterator[Told]:
    server, monitor = ModelServer(), Monitor(lambda: START)
    inference = Inference(server, monitor, settings)
    inference.observe_composed = monitor.observe_composed
    compositions = Compositions(server, monitor, lambda *_: None)
    compositions._wanted["both"] = wanted
    async with listening(create_router(inference, label_routes(monitor))) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for member in members:
                await server.swap(member.name, member)
            assert server.get("both") is not None
            yield Told(client, monitor, server, compositions)
        compositions.close()
        await server.aclose()


async def test_of_an_ensemble_all_members_answers_were_used(models: Models) -> None:
    a, b = models.member("a"), models.member("bb")
    async with telling(ensemble("a", "bb"), a, b) as told:
        answer_id, predicted = await told.infer()
        truth = predicted.copy()
        truth[:3] = 1 - truth[:3]
        said = await told.tell(answer_id, truth)
        right = {one.name: int((models.answer(one).argmax(axis=1) == truth).sum()) for one in (a, b)}
        assert right["a"] != right["bb"], "else nothing tells them apart"
        assert said.status_code == 200, said.text
        assert said.json() == {
            "model": "both",
            "version": 1,
            "labelled": 9,
            "correct": 6,
            "members": [
                {"model": "a", "version": 1, "labelled": 9, "correct": right["a"]},
                {"model": "bb", "version": 1, "labelled": 9, "correct": right["bb"]},
            ],
        }
        assert told.windows() == {"a": (9, right["a"]), "bb": (9, right["bb"])}
        assert (await told.tell(answer_id, truth)).status_code == 409, "once"
        families = {
            one.name: [(sample.value, sample.labels) for sample in one.samples]
            for one in composition_families(told.monitor)
        }
        about = {"model": "both", "version": "1"}
        assert families == {
            "shoal_agent_composition_labelled_total": [(9, about)],
            "shoal_agent_composition_correct_total": [(6, about)],
        }


async def test_of_a_cascade_each_samples_label_is_for_the_member_that_answered_it(models: Models) -> None:
    small, large = models.member("small"), models.member("large")
    sure = models.answer(small).max(axis=1)
    threshold = float(np.sort(sure)[4])
    is_small = sure >= np.float32(threshold)
    async with telling(cascade(threshold, "small", "large"), small, large) as told:
        answer_id, predicted = await told.infer()
        truth = predicted.copy()
        truth[np.flatnonzero(is_small)[0]] ^= 1
        said = (await told.tell(answer_id, truth)).json()
        assert (said["version"], said["labelled"], said["correct"]) == (7, 9, 8)
        counts = {one["model"]: (one["labelled"], one["correct"]) for one in said["members"]}
        assert counts == {"small": (5, 4), "large": (4, 4)}
        assert told.windows() == counts

        answer_id, predicted = await told.infer(ROWS[is_small][:1])
        said = (await told.tell(answer_id, predicted)).json()
        assert [one["model"] for one in said["members"]] == ["small"], "the other one was not asked"


async def test_labels_that_fit_no_answer_of_it_are_refused(models: Models) -> None:
    async with telling(ensemble("a", "bb"), models.member("a"), models.member("bb")) as told:
        answer_id, predicted = await told.infer()
        assert (await told.tell("nobody-1", predicted)).status_code == 404
        assert (await told.tell(answer_id, predicted[:2])).status_code == 422
        assert (await told.tell(answer_id, predicted + 2)).status_code == 422
        assert (await told.tell(answer_id, predicted)).json()["correct"] == 9


async def test_a_label_is_for_the_members_that_answered_whatever_serves_by_now(models: Models) -> None:
    async with telling(ensemble("a", "bb"), models.member("a"), models.member("bb")) as told:
        answer_id, predicted = await told.infer()
        await told.server.swap("a", models.member("a", 2))
        await told.infer()
        said = (await told.tell(answer_id, predicted)).json()
        assert [(one["model"], one["version"]) for one in said["members"]] == [("a", 1), ("bb", 1)]


async def test_answers_that_were_kept_and_such_as_ran_together_have_their_own_labels(models: Models) -> None:
    a, b = models.member("a"), models.member("bb")
    async with telling(ensemble("a", "bb"), a, b, settings=ServingSettings(workers=1, cache_bytes=100_000)) as told:
        found: dict[int, tuple[str, Any]] = {}

        async def ask(row: int) -> None:
            found[row] = await told.infer(ROWS[row : row + 1])

        async with anyio.create_task_group() as group:
            for row in range(len(ROWS)):
                group.start_soon(ask, row)
        for row in range(len(ROWS)):
            for answer_id, predicted in (found[row], await told.infer(ROWS[row : row + 1])):
                said = (await told.tell(answer_id, predicted)).json()
                expected = [int(models.answer(one, ROWS[row : row + 1]).argmax() == predicted[0]) for one in (a, b)]
                assert [one["correct"] for one in said["members"]] == expected


async def test_what_is_kept_elsewhere_tells_of_members_and_is_refused_where_it_can_not_be(models: Models) -> None:
    small, large = models.member("small"), models.member("large")
    async with telling(cascade(0.9, "small", "large"), small, large) as told:
        served = told.server.get("both")
        assert served is not None
        outputs = served.engine.infer({"image": ROWS})
        found = decode_outputs(b"key", encode_outputs(b"key", outputs), served.engine.outputs)
        assert found is not None
        assert found.keys() == outputs.keys()
        for name, array in outputs.items():
            np.testing.assert_array_equal(found[name], array)
        assert are_of_members(served, found)
        assert not are_of_members(served, found | {"": found[""] + 2})
        assert not are_of_members(served, found | {"\0": found["\0"][:, :1]})
        declared = {name: array for name, array in outputs.items() if name not in {"", "\0"}}
        assert decode_outputs(b"key", encode_outputs(b"key", declared | {"more": ROWS}), served.engine.outputs) is None
        nothing = encode_outputs(b"key", {"": outputs[""]})
        assert decode_outputs(b"key", nothing, served.engine.outputs) is None
