"""Tensors as bytes: what is written is read again, and what is no tensor is refused with its reason."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tests.agent.serving.conftest import Endpoint, running, served_tiny
from tests.agent.serving.echo import EchoEngine, served_echo

from shoal_agent.endpoint import RequestError
from shoal_agent.engines import NUMPY_TYPES, Array, bytes_array
from shoal_agent.serving.binary import Tail, read_tensor, write_tensor
from shoal_agent.settings import ServingSettings

SHAPES = npst.array_shapes(max_dims=3, max_side=4)
NUMERIC = [name for name in NUMPY_TYPES if name != "BYTES"]


@given(data=st.data(), datatype=st.sampled_from(NUMERIC), shape=SHAPES)
def test_a_tensor_that_is_written_is_read_again(data: st.DataObject, datatype: str, shape: tuple[int, ...]) -> None:
    array: Array = data.draw(npst.arrays(NUMPY_TYPES[datatype], shape))
    again = read_tensor(memoryview(write_tensor(array)), datatype, shape, "x")
    assert again.dtype == array.dtype
    assert again.tobytes() == array.tobytes()


@given(elements=st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_elements_of_any_length_are_written_and_read_again(elements: list[bytes]) -> None:
    data = memoryview(write_tensor(bytes_array(elements)))
    assert read_tensor(data, "BYTES", (len(elements), 1), "x").ravel().tolist() == elements


@given(data=st.binary(max_size=60), count=st.integers(1, 5))
def test_any_bytes_are_elements_or_refused(data: bytes, count: int) -> None:
    try:
        found = read_tensor(memoryview(data), "BYTES", (count,), "x")
    except RequestError:
        return
    assert bytes(write_tensor(found)) == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too few for 2 elements"),
        (struct.pack("<I", 2**32 - 1) + b"abcdefgh", "element 0 of 2 ends behind the 12 bytes"),
        (struct.pack("<I", 1) + b"a" + struct.pack("<I", 4) + b"bcd", "element 1 of 2 ends behind"),
        (struct.pack("<I", 0) * 2 + b"more", "4 bytes behind its 2 elements"),
    ],
)
def test_elements_that_overrun_their_tensor_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        read_tensor(memoryview(data), "BYTES", (2,), "input 'x'")


def test_a_huge_shape_of_elements_allocates_nothing() -> None:
    with pytest.raises(RequestError, match="too few for 1000000000000000000 elements"):
        read_tensor(memoryview(b"\0" * 100), "BYTES", (10**9, 10**9), "input 'x'")


def test_aligned_tensors_are_not_copied_and_others_are() -> None:
    block = np.zeros(100, dtype=np.float32)
    data = block.view(np.uint8).data
    assert np.shares_memory(read_tensor(data[:40], "FP32", (10,), "x"), block)
    moved = read_tensor(data[1:41], "FP32", (10,), "x")
    assert moved.flags.aligned
    assert not np.shares_memory(moved, block)


def test_binary_data_left_over_is_refused() -> None:
    tail = Tail(b"{}1234", 2)
    tail.take(3, "x")
    with pytest.raises(RequestError, match="1 bytes of binary data belong to no input"):
        tail.check_end()


ROW = np.array([[0.5, -1.0, 2.0, 0.25]], dtype=np.float32)


def binary(tail: bytes, length: object = None, **changes: object) -> tuple[bytes, dict[str, str]]:
    """A request for `tiny` whose input is binary data."""
    item: dict[str, object] = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    head = json.dumps({"inputs": [item | {"parameters": {"binary_data_size": len(tail)}} | changes]}).encode()
    return head + tail, {"Inference-Header-Content-Length": str(len(head) if length is None else length)}


async def ask(endpoint: Endpoint, request: tuple[bytes, dict[str, str]], model: str = "tiny") -> Any:
    body, headers = request
    return await endpoint.client.post(f"/v2/models/{model}/infer", content=body, headers=headers)


BAD = {
    "no header": (binary(ROW.tobytes(), ""), "not JSON"),
    "a header beyond the body": (binary(ROW.tobytes(), 10_000), "but the body has"),
    "a header that is no number": (binary(ROW.tobytes(), "-3"), "expected a number of bytes"),
    "a header of 40 digits": (binary(ROW.tobytes(), "9" * 40), "expected a number of bytes"),
    "too few bytes": (binary(ROW.tobytes()[:-1]), "has 15 bytes, expected 16 for FP32 of shape [1, 4]"),
    "too many bytes": (binary(ROW.tobytes() + b"x"), "has 17 bytes, expected 16"),
    "a size beyond the data": (binary(b"", parameters={"binary_data_size": 16}), "0 bytes of binary data are left"),
    "a negative size": (binary(ROW.tobytes(), parameters={"binary_data_size": -16}), "binary_data_size is -16"),
    "a size that is no number": (binary(ROW.tobytes(), parameters={"binary_data_size": "16"}), "expected a number"),
    "a size of true": (binary(ROW.tobytes(), parameters={"binary_data_size": True}), "expected a number of bytes"),
    "parameters that are no object": (binary(ROW.tobytes(), parameters=[16]), "expected a JSON object"),
    "data both ways": (binary(ROW.tobytes(), data=[1, 2, 3, 4]), "both as data and as binary data"),
    "shared memory": (binary(b"", parameters={"shared_memory_region": "mine"}), "shared memory"),
    "NaN": (binary(np.full((1, 4), np.nan, np.float32).tobytes()), "NaN, infinite or beyond the range"),
    "infinity": (binary(np.full((1, 4), np.inf, np.float32).tobytes()), "NaN, infinite or beyond the range"),
    "data nobody asked for": (binary(ROW.tobytes(), data=[1, 2, 3, 4], parameters={}), "belong to no input"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", BAD)
async def test_binary_data_that_does_not_fit_is_refused(endpoint: Endpoint, kind: str) -> None:
    request, reason = BAD[kind]
    response = await ask(endpoint, request)
    assert response.status_code == 400
    assert reason in response.json()["error"]
    assert endpoint.seen.answered == []


@pytest.mark.anyio
async def test_outputs_come_as_binary_data_where_the_request_or_the_output_says_so(endpoint: Endpoint) -> None:
    def asked(*, of_all: bool, of_one: bool | None) -> bytes:
        parameters = {} if of_one is None else {"parameters": {"binary_data": of_one}}
        return json.dumps(
            {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW.ravel().tolist()}],
                "outputs": [{"name": "probabilities", **parameters}],
                "parameters": {"binary_data_output": of_all},
            }
        ).encode()

    for of_all, of_one, is_binary in [
        (False, None, False),
        (True, None, True),
        (True, False, False),
        (False, True, True),
    ]:
        response = await ask(endpoint, (asked(of_all=of_all, of_one=of_one), {}))
        length = response.headers.get("inference-header-content-length")
        assert (length is not None) == is_binary
        head = json.loads(response.content[: int(length)] if length else response.content)
        [output] = head["outputs"]
        assert ("data" in output) != is_binary
        if length:
            assert response.headers["content-type"] == "application/octet-stream"
            assert output["parameters"] == {"binary_data_size": 12}
            assert len(response.content) == int(length) + 12


@pytest.mark.anyio
async def test_nan_and_infinity_are_answered_as_binary_data_where_policy_allows_them() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf]], dtype=np.float32)
    async with running(ServingSettings(allow_non_finite=True)) as endpoint:
        await endpoint.server.swap("echo", served_echo("echo", EchoEngine("FP32")))
        body, headers = binary(odd.tobytes(), shape=[1, 3])
        as_json = await ask(endpoint, (body, headers), "echo")
        assert (as_json.status_code, "or ask for binary data" in as_json.json()["error"]) == (422, True)
        wanting = body.replace(b'{"inputs"', b'{"parameters": {"binary_data_output": true}, "inputs"', 1)
        added = len(wanting) - len(body)
        headers = {name: str(int(value) + added) for name, value in headers.items()}
        response = await ask(endpoint, (wanting, headers), "echo")
        assert response.content.endswith(odd.tobytes())


@pytest.mark.anyio
async def test_a_large_tensor_reaches_the_model_without_a_copy_of_its_own() -> None:
    image = np.random.default_rng(0).random((1, 3, 224, 224), dtype=np.float32)
    engine = EchoEngine("FP32", (-1, 3, 224, 224))
    async with running() as endpoint:
        await endpoint.server.swap("image", served_echo("image", engine))
        response = await ask(endpoint, binary(image.tobytes(), shape=[1, 3, 224, 224]), "image")
        assert response.status_code == 200
        [given_array] = engine.given
        np.testing.assert_array_equal(given_array, image)
        assert not given_array.flags.owndata
        assert given_array.ctypes.data % 64 == 0


@pytest.mark.anyio
async def test_a_compressed_body_is_inflated_within_its_bound() -> None:
    import gzip

    async with running(ServingSettings(max_inflated_bytes=2000)) as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        body = json.dumps(
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW.ravel().tolist()}]}
        ).encode()

        async def sent(content: bytes, coding: str) -> int:
            response = await ask(endpoint, (content, {"Content-Encoding": coding}))
            return int(response.status_code)

        assert await sent(gzip.compress(body), "gzip") == 200
        assert await sent(gzip.compress(body + b" " * 1_000_000), "gzip") == 413
        assert await sent(gzip.compress(body)[:-9], "gzip") == 400
        assert await sent(body, "gzip") == 400
        assert await sent(body, "br") == 415
