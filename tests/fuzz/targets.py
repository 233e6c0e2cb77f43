"""What a fuzzer calls with any bytes: whatever they are, they are answered or refused, and nothing is held after.

Each function takes bytes and raises nothing unless the code is wrong.
"""

import json
from collections.abc import Callable
from typing import Final

from tests.agent.serving.echo import EchoEngine, served_echo

from shoal_agent.endpoint import EndpointLimits, Request, RequestError, Response, Route, Router
from shoal_agent.endpoint.bodies import BodyBudget
from shoal_agent.endpoint.listener import allow_everyone
from shoal_agent.endpoint.reader import Asked, RequestReader
from shoal_agent.serving import ServingSettings
from shoal_agent.serving.body import inflated, json_bytes
from shoal_agent.serving.decode import decode_request
from shoal_agent.serving.encode import encode_answer
from shoal_agent.serving.predict import read_features

LIMITS: Final = EndpointLimits(max_head_bytes=2048, max_headers=16, max_body_bytes=4096, max_bodies_bytes=8192)
BAD: Final = range(400, 500)
SETTINGS: Final = ServingSettings(max_inflated_bytes=16_384)
_SHARED: Final = memoryview(bytearray(1024))
_KINDS: Final = ("FP32", "INT8", "BOOL", "BYTES", "FP16", "UINT64")
_SERVED: Final = [served_echo(f"echo-{kind.lower()}", EchoEngine(kind, (-1, 2))) for kind in _KINDS]


def _echo(request: Request) -> Response:
    return Response((request.body,))


_ROUTER: Final = Router([Route("/v2/models/{name}/infer", {"POST": _echo}), Route("/", {"GET": _echo, "POST": _echo})])


class _Sink:
    """Takes what was read, and answers it at once; with little room, so that much is read in small pieces."""

    room = 2

    def __init__(self) -> None:
        self.budget = BodyBudget(LIMITS.max_bodies_bytes)
        self.refused = 0

    def on_begun(self) -> None:
        pass

    def on_awaited(self) -> None:
        pass

    def on_refused(self, error: RequestError) -> None:
        self.refused += 1
        assert error.status in BAD or error.status == 503

    def on_asked(self, asked: Asked) -> None:
        response = asked.handler(asked.request)
        assert isinstance(response, Response)
        assert len(asked.request.body) <= LIMITS.max_body_bytes
        b"".join(response.pieces(is_last=asked.is_last, is_head=False))
        self.budget.give_back(asked.held_bytes)


def reader(data: bytes) -> None:
    """Read bytes as a connection's, in pieces whose size the first byte says."""
    sink = _Sink()
    read = RequestReader(LIMITS, _ROUTER, sink.budget, allow_everyone, _SHARED, "127.0.0.1", sink)
    step, rest = data[0] * 4 + 1 if data else 1, data[1:]
    while rest:
        place = read.place()
        size = min(step, len(place), len(rest))
        place[:size] = rest[:size]
        read.received(size)
        rest = rest[size:]
    assert sink.refused <= 1
    read.end()
    assert sink.budget.held_bytes == 0


def infer(data: bytes) -> None:
    """Read bytes as the body of an inference request; the first three say of which model, and where the JSON ends."""
    kind, high, low, *_ = *data[:3], 0, 0, 0
    served, body = _SERVED[kind % len(_SERVED)], data[3:]
    headers = {b"inference-header-content-length": b"%d" % (high * 256 + low)} if kind & 128 else {}
    if kind & 64:
        headers[b"content-encoding"] = b"gzip"
    request = Request("POST", "/", headers, body)
    try:
        plain = inflated(request, SETTINGS.max_inflated_bytes)
        asked = decode_request(plain, json_bytes(request), served.engine.inputs, served.engine.outputs)
        response = encode_answer(served, asked, served.engine.infer(asked.inputs), "id")
    except RequestError as error:
        _check(error)
        return
    head = bytes(response.parts[0])
    assert json.loads(head)["outputs"]
    assert len(head) + sum(len(part) for part in response.parts[1:]) < 20 * len(plain) + 10_000


def _check(error: RequestError) -> None:
    assert error.status in BAD


def predict(data: bytes) -> None:
    """Read bytes as the body of the friendly call; the first says of which model."""
    served = _SERVED[data[0] % len(_SERVED)] if data else _SERVED[0]
    try:
        read_features(data[1:], served, SETTINGS)
    except RequestError as error:
        _check(error)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"reader": reader, "infer": infer, "predict": predict}
