"""Bytes become the same requests however they are cut up, and whatever they are, memory is given back."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_agent.endpoint import EndpointLimits, Request, RequestError, Response, Route, Router
from shoal_agent.endpoint.bodies import BodyBudget
from shoal_agent.endpoint.listener import allow_everyone
from shoal_agent.endpoint.reader import Asked, RequestReader

LIMITS = EndpointLimits(max_head_bytes=2000, max_headers=8, max_body_bytes=300_000, max_bodies_bytes=400_000)
SHARED = memoryview(bytearray(64 * 1024))


def _answer(request: Request) -> Response:
    return Response((request.body,))


ROUTER = Router([Route("/echo", {"POST": _answer, "GET": _answer}), Route("/small", {"POST": _answer}, 10)])


@dataclass
class Read:
    """What came out of a connection's bytes."""

    limits: EndpointLimits = LIMITS
    asked: list[Asked] = field(default_factory=list)
    refused: list[RequestError] = field(default_factory=list)
    awaited: int = 0
    begun: int = 0
    most: int = 10**6
    """Requests that it takes before some are taken out."""
    taken_out: int = 0

    def __post_init__(self) -> None:
        self.budget = BodyBudget(self.limits.max_bodies_bytes)
        self.reader = RequestReader(self.limits, ROUTER, self.budget, allow_everyone, SHARED, "127.0.0.1", self)

    @property
    def room(self) -> int:
        return max(self.most - len(self.asked) + self.taken_out, 0)

    def on_begun(self) -> None:
        self.begun += 1

    def on_asked(self, asked: Asked) -> None:
        self.asked.append(asked)

    def on_refused(self, error: RequestError) -> None:
        self.refused.append(error)

    def on_awaited(self) -> None:
        self.awaited += 1

    def feed(self, data: bytes, pieces: list[int] | None = None) -> "Read":
        """Receive bytes, in pieces of such sizes at most, as far as there is place for."""
        sizes = iter(pieces or [])
        while data:
            place = self.reader.place()
            size = min(len(place), len(data), next(sizes, len(data)))
            place[:size] = data[:size]
            self.reader.received(size)
            data = data[size:]
        return self

    def answers(self) -> list[tuple[int, bytes]]:
        """Return status and body of what each request is answered."""
        answers = []
        for one in self.asked:
            response = one.handler(one.request)
            assert isinstance(response, Response)
            answers.append((response.status, b"".join(bytes(part) for part in response.parts)))
        return answers

    def finish(self) -> None:
        """End the connection, as if everything had been answered; nothing may be held then."""
        for one in self.asked:
            self.budget.give_back(one.held_bytes)
        self.reader.end()
        assert self.budget.held_bytes == 0


def post(body: bytes, *lines: bytes, path: bytes = b"/echo") -> bytes:
    head = b"\r\n".join((b"POST " + path + b" HTTP/1.1", b"Host: device", *lines))
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    head = b"POST /echo HTTP/1.1\r\nHost: device\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"


sizes = st.one_of(st.integers(0, 40), st.integers(60_000, 140_000))
PATTERN = bytes(n * n % 251 for n in range(140_000))


@settings(max_examples=150, deadline=None)
@given(
    asked=st.lists(st.tuples(sizes, st.booleans()), min_size=1, max_size=4),
    pieces=st.lists(st.integers(1, 70_000), max_size=12),
)
def test_the_same_requests_come_of_any_pieces(asked: list[tuple[int, bool]], pieces: list[int]) -> None:
    bodies = [(PATTERN[:size], is_chunked) for size, is_chunked in asked]
    stream = b"".join(chunked(body, 50_000) if is_chunked else post(body) for body, is_chunked in bodies)
    read = Read(EndpointLimits(max_bodies_bytes=2**30)).feed(stream, pieces)
    assert read.answers() == [(200, body) for body, _ in bodies]
    assert read.refused == []
    assert not read.reader.is_within
    read.finish()


@settings(max_examples=150, deadline=None)
@given(
    asked=st.lists(st.tuples(st.integers(0, 400), st.booleans()), min_size=1, max_size=40),
    pieces=st.lists(st.integers(1, 3000), max_size=12),
    most=st.integers(1, 5),
)
def test_no_more_requests_come_than_there_is_room_for_and_the_rest_comes_later(
    asked: list[tuple[int, bool]], pieces: list[int], most: int
) -> None:
    bodies = [(PATTERN[:size], is_chunked) for size, is_chunked in asked]
    stream = b"".join(chunked(body, 70) if is_chunked else post(body) for body, is_chunked in bodies)
    read = Read(EndpointLimits(max_bodies_bytes=2**30), most=most)
    sizes = iter(pieces)
    while stream or len(read.asked) < len(asked):
        if read.room and stream:  # a connection that has none reads nothing
            size = next(sizes, len(stream))
            read.feed(stream[:size])
            stream = stream[size:]
        assert len(read.asked) - read.taken_out <= most
        read.taken_out = len(read.asked)
        read.reader.read_on()
    assert read.answers() == [(200, body) for body, _ in bodies]
    read.finish()


@pytest.mark.parametrize("tiny", [b"GET /echo\r\n\r\n", b"GET /echo RTSP/1.0\r\n\r\n", b"GET /echo HTTP/1.1\r\n\r\n"])
def test_the_smallest_requests_find_no_way_around_the_bound(tiny: bytes) -> None:
    read = Read(most=3).feed(tiny * 1000)
    assert 1 <= len(read.asked) <= 3
    body = post(b"x" * 5000, path=b"/nowhere")
    refused = Read(most=3).feed(body + tiny * 1000, [len(body) - 10])
    assert 1 <= len(refused.asked) <= 3


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_bytes_that_are_no_requests_are_refused_and_hold_nothing(data: st.DataObject) -> None:
    good = bytearray(post(b"x" * 30) + chunked(b"y" * 50, 20) + post(b"z" * 10, b"Expect: 100-continue"))
    for _ in range(data.draw(st.integers(0, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    read = Read().feed(data.draw(st.binary(max_size=30)) * data.draw(st.integers(0, 1)) + bytes(good[:cut]))
    assert len(read.refused) <= 1
    assert all(status in {200, 404, 405, 413} for status, _ in read.answers())
    read.finish()


def test_a_tensor_behind_its_json_lies_where_a_runtime_may_use_it() -> None:
    for json_bytes in (1, 63, 64, 100, 4001):
        body = b"j" * json_bytes + b"t" * 100_000
        read = Read().feed(post(body, b"Inference-Header-Content-Length: %d" % json_bytes), [3000])
        view = memoryview(read.asked[0].request.body)
        import numpy as np

        assert (np.frombuffer(view, np.uint8).ctypes.data + json_bytes) % 64 == 0
        assert bytes(view) == body


REFUSED = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not HTTP/1.1"),
    "a version of its own": (b"GET /echo HTTP/9.9\r\n\r\n", 400, "not HTTP/1.1"),
    "two lengths": (b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "not HTTP/1.1"),
    "a length and chunks": (
        b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "not HTTP/1.1",
    ),
    "a negative length": (b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "not HTTP/1.1"),
    "a length beyond 64 bits": (b"POST /echo HTTP/1.1\r\nContent-Length: 9" + b"9" * 30, 400, "not HTTP/1.1"),
    "many headers": (b"GET /echo HTTP/1.1\r\n" + b"a: b\r\n" * 9 + b"\r\n", 431, "9 lines"),
    "a long target": (b"GET /echo?" + b"x" * 3000 + b" HTTP/1.1\r\n\r\n", 431, "0 lines of 3006 bytes"),
    "too much announced": (b"POST /echo HTTP/1.1\r\nContent-Length: 300001\r\n\r\n", 413, "300001 bytes announced"),
    "chunks without end": (
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 10,
        413,
        "more than 300000 bytes sent",
    ),
    "bad chunks": (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "not HTTP/1.1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_out_of_bounds_is_refused_with_its_reason(kind: str) -> None:
    data, status, reason = REFUSED[kind]
    read = Read().feed(data)
    [error] = read.refused
    assert error.status == status
    assert reason in str(error)
    assert read.asked == []
    read.finish()


def test_a_head_without_end_is_refused_while_it_comes() -> None:
    read = Read()
    for _ in range(100):
        read.feed(b"GET /echo HTTP/1.1\r\nname: " if not read.begun else b"x" * 100)
    [error] = read.refused
    assert error.status == 431


def test_a_small_refused_body_is_read_to_its_end_so_that_the_connection_stays() -> None:
    read = Read().feed(post(b"x" * 11, path=b"/small") + post(b"y", path=b"/nowhere") + post(b"z"))
    assert [status for status, _ in read.answers()] == [413, 404, 200]
    assert read.refused == []


def test_bodies_of_all_connections_share_one_bound() -> None:
    first = Read().feed(post(b"x" * 300_000)[:1000])
    second = Read()
    second.budget = first.budget
    second.reader = RequestReader(LIMITS, ROUTER, first.budget, allow_everyone, SHARED, "127.0.0.1", second)
    second.feed(post(b"y" * 200_000))
    [error] = second.refused
    assert (error.status, error.retry_after_s) == (503, 1)
    first.reader.end()
    assert first.budget.held_bytes == 0


def test_who_waits_for_a_word_before_its_body_gets_it_once_the_head_is_fine() -> None:
    head = b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    assert Read().feed(head).awaited == 1
    refused = Read().feed(head.replace(b"echo", b"nowhere"))
    assert (refused.awaited, refused.refused[0].status) == (0, 404)


@pytest.mark.parametrize("size", [0, 3, 100_000])
@pytest.mark.parametrize("pieces", [[], [100, 50, 60_000], [1000], [1] * 1000, "head"])
def test_another_protocol_is_not_spoken_and_body_and_next_request_are_read(size: int, pieces: list[int] | str) -> None:
    body = PATTERN[:size]
    asking = post(body, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAA")
    read = Read().feed(asking + post(b"next"), [len(asking) - size] if isinstance(pieces, str) else pieces)
    assert (read.answers(), read.refused) == ([(200, body), (200, b"next")], [])
    read.finish()


@pytest.mark.parametrize("pieces", [[], [1] * 1000])
def test_another_protocol_with_a_body_that_is_refused_ends_the_connection(pieces: list[int]) -> None:
    asking = post(PATTERN[:3], b"Connection: Upgrade", b"Upgrade: h2c").replace(b"/echo", b"/nowhere", 1)
    read = Read().feed(asking + post(b"next"), pieces)
    assert ([error.status for error in read.refused], read.asked) == ([404], [])
    read.finish()


def test_another_protocol_with_a_body_in_chunks_is_refused() -> None:
    read = Read().feed(chunked(b"x" * 10, 5).replace(b"Host: device", b"Connection: Upgrade\r\nUpgrade: h2c", 1))
    assert [error.status for error in read.refused] == [400]


def test_trailers_say_nothing_and_have_an_end() -> None:
    head = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    read = Read().feed(head + b"shoal-key: another\r\n\r\n" + post(b"y"))
    assert read.answers() == [(200, b"x"), (200, b"y")]
    assert read.asked[0].request.header(b"shoal-key") == ""
    for endless in (b"name: " + b"v" * 5000, b"a: b\r\n" * 1000):
        found = Read().feed(head).feed(endless, [500] * 100)
        assert [error.status for error in found.refused] == [431]
        found.finish()


def test_many_small_chunks_are_no_head() -> None:
    read = Read().feed(chunked(b"z" * 9000, 1), [7] * 20_000)
    assert read.answers() == [(200, b"z" * 9000)]
    read.finish()
