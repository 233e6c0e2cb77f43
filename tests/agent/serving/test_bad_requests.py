"""Every bad request gets a 4xx whose text says what was found and expected, and pollutes nothing."""

import json
from collections.abc import AsyncIterator

import anyio
import pytest
from tests.agent.serving.conftest import Endpoint, running, served_pair, served_tiny

from shoal_agent.endpoint import EndpointLimits

pytestmark = pytest.mark.anyio

INFER = "/v2/models/tiny/infer"
GOOD = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}


def _with(**changes: object) -> bytes:
    return json.dumps({"inputs": [GOOD | changes]}).encode()


def _without(name: str) -> bytes:
    return json.dumps({"inputs": [{key: value for key, value in GOOD.items() if key != name}]}).encode()


BAD = {
    "no JSON": (b"{", "not JSON"),
    "no text": (b"\xff\xfe\xff", "not JSON"),
    "nothing": (b"", "not JSON"),
    "deep nesting": (b"[" * 200_000, "nested too deeply"),
    "a number of 5,000 digits": (b'{"inputs": ' + b"9" * 5000 + b"}", "not JSON"),
    "no object": (b"[1, 2]", "expected a JSON object"),
    "no inputs": (b"{}", "inputs is nothing"),
    "empty inputs": (b'{"inputs": []}', "at least one element"),
    "inputs of numbers": (b'{"inputs": [1]}', "inputs[0] is 1, expected a JSON object"),
    "an id that is no string": (json.dumps({"id": 7, "inputs": [GOOD]}).encode(), "id is 7, expected a string"),
    "a wrong name": (_with(name="pixels"), "'pixels' is not one of the model's inputs (x)"),
    "no name": (_without("name"), "has name nothing"),
    "an input twice": (json.dumps({"inputs": [GOOD, GOOD]}).encode(), "given 2 times"),
    "a wrong datatype": (_with(datatype="INT8"), "has datatype 'INT8', expected 'FP32'"),
    "no datatype": (_without("datatype"), "has datatype nothing"),
    "a datatype that is no string": (_with(datatype=[]), "expected 'FP32'"),
    "a wrong shape": (_with(shape=[1, 5]), "has shape [1, 5], expected [-1, 4]"),
    "a wrong rank": (_with(shape=[4]), "has shape [4], expected [-1, 4]"),
    "no shape": (_without("shape"), "has shape nothing"),
    "a negative size": (_with(shape=[-1, 4]), "has shape [-1, 4]"),
    "an empty batch": (_with(shape=[0, 4], data=[]), "from 1"),
    "a size of 0.5": (_with(shape=[0.5, 4]), "has shape [0.5, 4]"),
    "a size of true": (_with(shape=[True, 4]), "has shape [True, 4]"),
    "a huge size": (_with(shape=[10**18, 4]), "4 elements, expected 4000000000000000000"),
    "a size beyond 64 bits": (_with(shape=[10**400, 4]), "has 4 elements"),
    "two thousand sizes": (_with(shape=[1] * 2000), "expected [-1, 4]"),
    "no data": (_without("data"), "has no data"),
    "too little data": (_with(data=[1.0]), "has 1 elements, expected 4"),
    "too much data": (_with(data=[1.0] * 5), "has 5 elements, expected 4"),
    "data nested otherwise": (_with(data=[[1.0, 2.0], [3.0, 4.0]]), "nested as [2, 2] but shape [1, 4]"),
    "ragged data": (_with(data=[[1.0, 2.0, 3.0], [4.0]]), "ragged data: lists of 1 and 3"),
    "half nested data": (_with(data=[[1.0, 2.0, 3.0], 4.0]), "ragged data: lists and single values"),
    "data nested 100 deep": (_with(data=json.loads("[" * 100 + "1" + "]" * 100)), "more than 8 deep"),
    "text": (_with(data=["1.0", 2.0, 3.0, 4.0]), "has the element '1.0', expected numbers for FP32"),
    "long text among numbers": (_with(data=["x" * 1_000_000, *[1] * 100_000]), "has 100001 elements"),
    "null": (_with(data=[None, 1, 1, 1]), "has the element nothing"),
    "true among numbers": (_with(data=[True, 1.0, 1.0, 1.0]), "has the element True"),
    "an object as data": (_with(data={"a": 1}), "an object with 1 fields"),
    "NaN": (_with(data=[float("nan"), 1, 1, 1]), "NaN, infinite or beyond the range"),
    "infinity": (_with(data=[float("inf"), 1, 1, 1]), "NaN, infinite or beyond the range"),
    "1e999": (_with(data=[9, 1, 1, 1]).replace(b"9", b"1e999"), "NaN, infinite or beyond the range"),
    "beyond float32": (_with(data=[1e39, 1, 1, 1]), "NaN, infinite or beyond the range"),
    "a whole number beyond float64": (_with(data=[10**400, 1, 1, 1]), "NaN, infinite or beyond the range"),
    "a lone surrogate": (_with(name="\ud800"), "not JSON"),
    "outputs that are no list": (json.dumps({"inputs": [GOOD], "outputs": "all"}).encode(), "outputs is 'all'"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_body_gets_a_400_that_says_what_is_wrong(shared: Endpoint, kind: str) -> None:
    body, complaint = BAD[kind]
    response = await shared.client.post(INFER, content=body)
    assert response.status_code == 400
    assert complaint in response.json()["error"]
    assert len(response.content) < 1000
    assert shared.seen.answered == []


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Endpoint]:
    async with running() as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        yield endpoint


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 10**30, 10**400, 1.0, True])
async def test_what_does_not_fit_a_whole_number_type_is_refused(shared: Endpoint, value: float) -> None:
    values = {"name": "values", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1.0]}
    factor = {"name": "factor", "datatype": "INT32", "shape": [1, 1], "data": [value]}
    await shared.server.swap("pair", served_pair())
    response = await shared.infer({"inputs": [values, factor]}, "/v2/models/pair/infer")
    assert response.status_code == 400
    assert "INT32" in response.json()["error"]


async def test_an_answer_that_json_cannot_hold_is_the_inputs_fault(shared: Endpoint) -> None:
    values = {"name": "values", "datatype": "FP32", "shape": [1, 2], "data": [3e38, 1.0]}
    factor = {"name": "factor", "datatype": "INT32", "shape": [1, 1], "data": [1000]}
    await shared.server.swap("pair", served_pair())
    response = await shared.infer({"inputs": [values, factor]}, "/v2/models/pair/infer")
    assert response.status_code == 422
    assert "is NaN or infinite for this input" in response.json()["error"]


SMALL = EndpointLimits(max_body_bytes=2000, read_timeout_s=0.2)


async def _pieces(size_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(size_bytes // 10_000):
        yield b" " * 10_000


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_above_the_limit_is_refused_with_and_without_its_length(is_chunked: bool) -> None:
    async with running(limits=SMALL) as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        content = _pieces(5_000_000) if is_chunked else b" " * 5_000_000
        response = await endpoint.client.post(INFER, content=content)
        assert response.status_code == 413
        assert "at most 2000 allowed" in response.json()["error"]
        assert (await endpoint.client.post(INFER, content=_with())).status_code == 200


async def test_an_announced_length_above_the_limit_is_refused_before_a_byte_is_sent() -> None:
    async with running(limits=SMALL) as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 9{'0' * 17}\r\n\r\n"
        async with await anyio.connect_tcp("127.0.0.1", endpoint.port) as stream:
            await stream.send(head.encode())
            assert (await stream.receive()).startswith(b"HTTP/1.1 413")


async def test_a_body_without_end_is_refused_while_it_is_still_coming() -> None:
    async with running(limits=SMALL) as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with await anyio.connect_tcp("127.0.0.1", endpoint.port) as stream:
            await stream.send(head.encode() + b"bb8\r\n" + b" " * 3000 + b"\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 413")


async def test_a_client_that_stops_sending_gets_408_and_holds_nothing_up() -> None:
    async with running(limits=SMALL) as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        async with await anyio.connect_tcp("127.0.0.1", endpoint.port) as stream:
            await stream.send(head.encode() + b"{")
            assert (await endpoint.client.post(INFER, content=_with())).status_code == 200
            # A slow sender does not hold the old version open.
            await endpoint.server.swap("tiny", served_tiny(version=2))
            assert (await stream.receive()).startswith(b"HTTP/1.1 408")


async def test_a_client_that_goes_away_is_survived() -> None:
    async with running() as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        async with await anyio.connect_tcp("127.0.0.1", endpoint.port) as stream:
            await stream.send(head.encode() + b"{")
        assert (await endpoint.client.post(INFER, content=_with())).status_code == 200
