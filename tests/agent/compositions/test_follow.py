"""Compositions follow their members: one set of versions for each request, and clear words while one is missing."""

import anyio
import anyio.to_thread
import numpy as np
import pytest
from tests.agent.compositions.conftest import ROWS, Models, cascade, closed, composing, ensemble

from shoal_agent.engines import Array

pytestmark = pytest.mark.anyio
BODY = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [9, 4], "data": ROWS.ravel().tolist()}]}
PATH = "/v2/models/both"


def outputs(body: dict[str, list[dict[str, list[float]]]]) -> Array:
    return np.array(body["outputs"][0]["data"], dtype=np.float32).reshape(len(ROWS), -1)


async def test_a_composition_is_served_as_soon_as_its_members_are(models: Models) -> None:
    async with composing() as composed:
        composed.follow(both=ensemble("a", "bb"))
        report = await composed.until("both", "held")
        assert report.problem is not None
        assert "its member 'a' is not served" in report.problem.message
        first, second = models.member("a"), models.member("bb")
        await composed.serve(first)
        response = await composed.endpoint.infer(BODY, f"{PATH}/infer")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "the composition 'both' is not ready: its member 'bb' is not served" in response.json()["error"]
        assert (await composed.endpoint.client.get(f"{PATH}/ready")).status_code == 503
        await composed.serve(second)
        await composed.until("both", "applied")
        found = await composed.endpoint.infer(BODY, f"{PATH}/infer")
        mean = (models.answer(first) + models.answer(second)) / 2
        np.testing.assert_allclose(outputs(found.json()), mean, atol=1e-6)
        assert found.json()["parameters"] == {"members": "a/1,bb/1"}


async def test_a_composition_loses_a_member_and_gets_it_back(models: Models) -> None:
    async with composing() as composed:
        await composed.serve(models.member("a"), models.member("bb"))
        composed.follow(both=ensemble("a", "bb"))
        await composed.until("both", "applied")
        await composed.endpoint.server.swap("bb", None)
        await composed.until("both", "held")
        assert closed(models.engines["bb", 1])
        assert (await composed.endpoint.infer(BODY, f"{PATH}/infer")).status_code == 503
        index = (await composed.endpoint.client.post("/v2/repository/index")).json()
        assert {one["name"]: one["state"] for one in index} == {"a": "READY", "both": "UNAVAILABLE"}
        await composed.serve(models.member("bb", 2))
        await composed.until("both", "applied")
        assert (await composed.endpoint.infer(BODY, f"{PATH}/infer")).json()["parameters"] == {"members": "a/1,bb/2"}


async def test_a_request_ends_on_the_members_that_it_began_with(models: Models) -> None:
    async with composing() as composed, anyio.create_task_group() as group:
        await composed.serve(models.member("a"), models.member("bb"))
        composed.follow(both=ensemble("a", "bb"))
        await composed.until("both", "applied")
        old, answers = models.engines["bb", 1], []
        old.gate.clear()

        async def ask() -> None:
            answers.append((await composed.endpoint.infer(BODY, f"{PATH}/infer")).json()["parameters"]["members"])

        group.start_soon(ask)
        await old.wait_entered()
        group.start_soon(composed.endpoint.server.swap, "bb", models.member("bb", 2))
        group.start_soon(composed.endpoint.server.swap, "a", models.member("a", 2))
        await anyio.wait_all_tasks_blocked()
        await ask()
        assert (answers, closed(old), closed(models.engines["a", 1])) == (["a/2,bb/2"], False, False)
        old.gate.set()
        with anyio.fail_after(5):
            while len(answers) < 2:  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.001)
        assert answers[1] == "a/1,bb/1"
    assert closed(old)
    assert closed(models.engines["a", 1])


async def test_under_load_each_answer_is_of_the_versions_that_it_names(models: Models) -> None:
    versions = {(name, number): models.member(name, number) for name in ("a", "bb") for number in (1, 2, 3, 4)}
    said = {key: models.answer(served) for key, served in versions.items()}
    seen: set[str] = set()
    async with composing() as composed:
        await composed.serve(versions["a", 1], versions["bb", 1])
        composed.follow(both=ensemble("a", "bb"))
        await composed.until("both", "applied")
        is_over = False

        async def ask() -> None:
            while not is_over:
                response = await composed.endpoint.infer(BODY, f"{PATH}/infer")
                assert response.status_code == 200, response.text
                members = response.json()["parameters"]["members"]
                first, second = (tuple(one.split("/")) for one in members.split(","))
                mean = (said[first[0], int(first[1])] + said[second[0], int(second[1])]) / 2
                np.testing.assert_allclose(outputs(response.json()), mean, atol=1e-6)
                seen.add(members)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            for number in (2, 3, 4):
                for name in ("a", "bb"):
                    await anyio.sleep(0.03)
                    await composed.endpoint.server.swap(name, versions[name, number])
            is_over = True
    assert len(seen) >= 4
    assert all(closed(engine) for engine in models.engines.values())


async def test_members_that_do_not_fit_fail_the_section_until_a_version_fits(models: Models) -> None:
    async with composing() as composed:
        await composed.serve(models.member("a"), models.member("bb", 1, labels=("yes", "no")))
        composed.follow(both=ensemble("a", "bb"))
        report = await composed.until("both", "failed")
        assert report.problem is not None
        assert "bb version 1 has other labels" in report.problem.message
        response = await composed.endpoint.infer(BODY, f"{PATH}/infer")
        assert (response.status_code, "other labels" in response.text) == (503, True)
        await composed.serve(models.member("bb", 2))
        await composed.until("both", "applied")


async def test_a_composition_that_is_not_wanted_any_more_is_unknown(models: Models) -> None:
    async with composing() as composed:
        await composed.serve(models.member("a"), models.member("bb"))
        composed.follow(both=ensemble("a", "bb"))
        await composed.until("both", "applied")
        composed.follow()
        await composed.until("both", None)
        response = await composed.endpoint.infer(BODY, f"{PATH}/infer")
        assert (response.status_code, "ask for one of a, bb" in response.text) == (404, True)
        assert not closed(models.engines["a", 1])


async def test_another_declaration_takes_the_place_of_the_one_before(models: Models) -> None:
    async with composing() as composed:
        await composed.serve(models.member("a"), models.member("bb"))
        composed.follow(both=ensemble("a", "bb"))
        await composed.until("both", "applied")
        composed.follow(both=cascade(1.0, "a", "bb"))
        with anyio.fail_after(5):
            while (await composed.endpoint.client.get(PATH)).json()["platform"] != "cascade":  # noqa: ASYNC110
                await anyio.sleep(0.001)
        assert (await composed.endpoint.client.get(PATH)).json()["versions"] == ["7"]


async def test_a_model_keeps_its_name_from_a_composition_and_gives_it_up_when_it_goes(models: Models) -> None:
    async with composing() as composed:
        await composed.serve(models.member("a"), models.member("bb"), models.member("both"))
        composed.follow(both=ensemble("a", "bb"))
        report = await composed.until("both", "failed")
        assert report.problem is not None
        assert "a model of this name is served" in report.problem.message
        assert "members" not in (await composed.endpoint.infer(BODY, f"{PATH}/infer")).text
        await composed.endpoint.server.swap("both", None)
        await composed.until("both", "applied")
        assert (await composed.endpoint.infer(BODY, f"{PATH}/infer")).json()["parameters"]["members"] == "a/1,bb/1"


async def test_a_composition_of_compositions_is_refused(models: Models) -> None:
    async with composing() as composed:
        await composed.serve(models.member("a"), models.member("bb"))
        composed.follow(both=ensemble("a", "more"), more=ensemble("bb", "both"))
        for name, member in (("both", "more"), ("more", "both")):
            report = await composed.until(name, "failed")
            assert report.problem is not None
            assert f"its member {member!r} is a composition" in report.problem.message
