"""Answers kept in a real Redis: shared, this version's own, and no request waits long for it or fails by it."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import SeenRequests, served_tiny
from tests.agent.serving.test_cache import BODY, ROW, Counting
from tests.fixtures import tiny
from tests.simulators.redis_process import RedisProcess, use_library

from shoal_agent.engines import NUMPY_TYPES, bytes_array
from shoal_agent.errors import AgentError
from shoal_agent.serving import Inference, ModelServer, ServingSettings, create_router
from shoal_agent.serving.answer_bytes import decode_outputs, encode_outputs
from shoal_agent.serving.redis_cache import _PREFIX, RedisCache, RedisSettings
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import DATATYPES

ANSWER = {"probabilities": tiny.probabilities(ROW["x"])}
WAIT_S = 0.1
SLACK_S = 0.4
"""What a loaded machine may add to a bound."""
BOUNDS = RedisSettings(wait_s=WAIT_S, connect_s=0.5, rest_s=60.0)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    use_library()
    running = RedisProcess(tmp_path_factory.mktemp("redis")).start()
    yield running
    running.kill()


def opened(url: str, ttl_s: float = 60.0, bounds: RedisSettings = BOUNDS) -> RedisCache:
    use_library()
    return RedisCache(url, ttl_s, bounds)


def put(cache: RedisCache, key: bytes, outputs: Any = None) -> None:
    """Keep an answer, and wait until it is."""
    cache.put(key, ANSWER if outputs is None else outputs)
    cache._writes.submit(int).result(10)


def test_an_answer_is_found_by_every_server_of_the_same_version_and_by_no_other(redis: RedisProcess) -> None:
    first, second = opened(redis.url), opened(redis.url)
    version = served_tiny(1)
    key = first.key(version, ROW)
    put(first, key)
    found = second.get(key, version)
    assert found is not None
    np.testing.assert_array_equal(found["probabilities"], ANSWER["probabilities"])
    assert second.get(second.key(served_tiny(2), ROW), served_tiny(2)) is None
    assert (second.counts().hits, second.counts().misses, second.counts().hit_rate) == (1, 1, 0.5)


def test_an_answer_is_good_for_its_time(redis: RedisProcess) -> None:
    cache, key = opened(redis.url, ttl_s=0.05), b"short"
    put(cache, key)
    time.sleep(0.1)
    assert cache.get(key, served_tiny()) is None


def test_an_answer_that_is_too_large_is_not_kept(redis: RedisProcess) -> None:
    cache = opened(redis.url, bounds=RedisSettings(wait_s=WAIT_S, max_value_bytes=50))
    put(cache, b"large")
    assert cache.get(b"large", served_tiny()) is None
    assert cache.told.damaged == 0


VALUE = encode_outputs(b"poisoned", ANSWER)
POISON = {
    "other bytes": b"\x80\x04\x95 a pickle, say",
    "cut": VALUE[:-1],
    "longer": VALUE + b"x",
    "changed": VALUE[:-2] + b"\x01" + VALUE[-1:],
    "of another key": encode_outputs(b"another", ANSWER),
    "of another type": encode_outputs(b"poisoned", {"probabilities": np.zeros((1, 3), np.int64)}),
    "of another shape": encode_outputs(b"poisoned", {"probabilities": np.zeros((1, 4), np.float32)}),
    "of another name": encode_outputs(b"poisoned", {"other": ANSWER["probabilities"]}),
    "of more outputs": encode_outputs(b"poisoned", ANSWER | {"more": ANSWER["probabilities"]}),
    "huge": b"x" * 3_000_000,
}


@pytest.mark.parametrize("value", POISON.values(), ids=POISON)
def test_a_value_that_is_no_answer_is_a_miss(redis: RedisProcess, value: bytes) -> None:
    cache = opened(redis.url)
    cache._client.set(_PREFIX + b"poisoned", value)
    assert cache.get(b"poisoned", served_tiny()) is None
    assert (cache.told.damaged, cache.told.misses, cache.told.failures) == (1, 1, 0)
    put(cache, b"poisoned")
    assert cache.get(b"poisoned", served_tiny()) is not None


def test_a_key_of_another_kind_is_a_miss(redis: RedisProcess) -> None:
    cache = opened(redis.url)
    cache._client.rpush(_PREFIX + b"list", b"a")
    assert cache.get(b"list", served_tiny()) is None
    assert cache.told.failures == 1


def test_an_absent_redis_costs_a_bounded_time_once_and_is_not_asked_while_it_rests() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    cache = opened(f"redis://127.0.0.1:{port}")
    started_s = time.monotonic()
    for _ in range(1000):
        assert cache.get(b"k", served_tiny_once()) is None
        cache.put(b"k", ANSWER)
    assert time.monotonic() - started_s < WAIT_S + 2 * SLACK_S
    assert cache.told.failures == 1


def served_tiny_once() -> Any:
    """The same served model all the time: loading it takes longer than what is measured."""
    return _SERVED


_SERVED = served_tiny()


@pytest.mark.parametrize("name", ["127.0.0.1", "unresolved.invalid"])
def test_a_silent_redis_and_a_name_that_does_not_resolve_hold_a_request_no_longer_than_the_bound(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        cache = opened(f"redis://{name}:{silent.getsockname()[1]}")
        started_s = time.monotonic()
        assert cache.get(b"k", _SERVED) is None
        assert time.monotonic() - started_s < WAIT_S + SLACK_S
        cache.close()


def test_one_that_sends_a_byte_now_and_then_holds_a_request_no_longer_than_the_bound() -> None:
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"$100000\r\n")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        cache = opened(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        started_s = time.monotonic()
        assert cache.get(b"k", _SERVED) is None
        assert time.monotonic() - started_s < WAIT_S + SLACK_S
        stop.set()
        thread.join()


def test_it_is_asked_again_after_its_rest(tmp_path: Path) -> None:
    use_library()
    server = RedisProcess(tmp_path)
    now_s = 0.0
    cache = RedisCache(server.url, 60.0, BOUNDS, clock_s=lambda: now_s)
    assert cache.get(b"k", _SERVED) is None
    server.start()
    try:
        put(cache, b"k")
        assert cache.get(b"k", _SERVED) is None, "it rests"
        now_s = BOUNDS.rest_s
        put(cache, b"k")
        assert cache.get(b"k", _SERVED) is not None
    finally:
        server.kill()


@pytest.mark.anyio
async def test_a_redis_that_is_killed_amid_load_fails_no_request(tmp_path: Path) -> None:
    use_library()
    server = RedisProcess(tmp_path).start()
    cache = opened(server.url)
    models, engine = ModelServer(), Counting(served_tiny().engine)
    engine.gate.set()
    inference = Inference(models, SeenRequests(), ServingSettings(in_place_ms=0.0), cache=cache)
    await models.swap("tiny", served_tiny(1, engine))
    statuses: list[int] = []

    async def ask(client: httpx.AsyncClient, count: int) -> None:
        for _ in range(count):
            answer = await client.post("/v2/models/tiny/infer", json=BODY)
            statuses.append(answer.status_code)

    async with listening(create_router(inference)) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await ask(client, 10)
            assert cache.told.hits >= 8
            runs = engine.runs
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(ask, client, 25)
                server.kill()
        await models.aclose()
    inference.close()
    assert statuses == [200] * 110
    assert engine.runs > runs
    cache.close()


@given(data=st.data())
def test_every_type_and_shape_comes_back_as_it_went(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([one for one in DATATYPES if one.kind != "O"]))
    shape = data.draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    array = data.draw(npst.arrays(kind, shape))
    spec = TensorSpec(name="y", datatype=DATATYPES[kind], shape=tuple(-1 for _ in shape))
    found = decode_outputs(b"key", encode_outputs(b"key", {"y": array}), [spec])
    assert found is not None
    assert (found["y"].dtype, found["y"].shape) == (array.dtype, shape)
    np.testing.assert_array_equal(found["y"], array)


def test_texts_come_back_as_they_went() -> None:
    array = bytes_array([b"a", b"", b"\x00\xff"]).reshape(1, 3)
    spec = TensorSpec(name="y", datatype="BYTES", shape=(-1, 3))
    found = decode_outputs(b"key", encode_outputs(b"key", {"y": array}), [spec])
    assert found is not None
    assert found["y"].tolist() == array.tolist()
    assert NUMPY_TYPES["BYTES"] == found["y"].dtype


@given(st.binary(max_size=200))
def test_whatever_else_lies_there_is_no_answer(data: bytes) -> None:
    assert decode_outputs(b"key", data, tiny.OUTPUTS) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis", ""])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(AgentError, match="begins with none of redis://"):
        opened(url)


def test_no_password_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    opened("redis://:secret@127.0.0.1:1").get(b"k", _SERVED)
    assert "127.0.0.1:1" in caplog.text
    assert "secret" not in caplog.text


def test_one_that_was_closed_meanwhile_fails_no_request(redis: RedisProcess) -> None:
    cache = opened(redis.url)
    cache.close()
    cache.put(b"k", ANSWER)
    assert cache.get(b"k", _SERVED) is None
