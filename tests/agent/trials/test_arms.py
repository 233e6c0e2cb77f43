"""Who answers while a trial runs: the same version for the same key, and what serves wherever there is a doubt."""

import json
from datetime import timedelta

import anyio
import pytest
from tests.agent.serving.conftest import served_tiny
from tests.agent.trials.conftest import START, trial, trying

from shoal_contract.split import falls_within

pytestmark = pytest.mark.anyio
X = [0.5, -1.0, 2.0, 0.25]
SPLIT = trial(mode="ab", share=0.5)


async def test_a_key_gets_the_version_of_its_side_each_time() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", SPLIT, START)
        for key in (f"customer-{number}" for number in range(20)):
            expected = "2" if falls_within(0.5, SPLIT.salt, key) else "1"
            assert [await tried.infer(X, key) for _ in range(2)] == [expected] * 2


async def test_a_request_without_a_key_is_answered_by_what_serves() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", SPLIT, START)
        assert await tried.infer(X) == "1"


async def test_a_device_that_is_all_candidate_needs_no_key() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", trial(mode="ab", share=1.0), START)
        assert await tried.infer(X) == "2"


async def test_a_version_that_is_asked_for_by_number_answers_on_either_side() -> None:
    async with trying() as tried:
        assert await tried.infer(X, version="1") == "1"
        tried.arms.start("tiny", SPLIT, START)
        assert [await tried.infer(X, version=version) for version in ("1", "2")] == ["1", "2"]


async def test_in_shadow_nobody_gets_what_the_candidate_says() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", trial(), START)
        tried.shadow.begin("tiny", trial())
        assert [await tried.infer(X, f"key-{number}") for number in range(5)] == ["1"] * 5


async def test_a_trial_rests_while_another_version_serves_and_ends_with_its_time() -> None:
    whole = trial(mode="ab", share=1.0)
    async with trying() as tried:
        tried.arms.start("tiny", whole, START)
        await tried.server.swap("tiny", served_tiny(3))
        assert await tried.infer(X) == "3"
        await tried.server.swap("tiny", served_tiny(1))
        assert await tried.infer(X) == "2"
        tried.arms.start("tiny", whole, START + timedelta(days=2))
        assert await tried.infer(X) == "1"


async def test_each_arm_is_watched_under_its_own_version_with_its_own_errors() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", trial(mode="ab", share=1.0), START)
        assert await tried.infer(X) == "2"
        tried.candidate.fails = True
        response = await tried.client.post(
            "/v2/models/tiny/infer",
            json={"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X}]},
        )
        assert response.status_code >= 500
        assert (len(tried.seen.answered), tried.seen.errors) == (1, ["tiny"])


async def test_a_trial_that_ends_while_a_request_comes_has_what_serves_answer_it() -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X}]}).encode()
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: device\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with trying() as tried:
        tried.arms.start("tiny", trial(mode="ab", share=1.0), START)
        port = tried.client.base_url.port
        async with await anyio.connect_tcp("127.0.0.1", port or 0) as stream:
            await stream.send(head + body[:10])
            await tried.client.get("/v2/health/live")  # by now the head has been read
            tried.arms.stop("tiny")
            await tried.arms.candidates.swap("tiny", None)
            await stream.send(body[10:])
            answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"model_version":"1"' in answer
