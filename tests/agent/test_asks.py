"""Topics that are asked for or left in one moment share a packet, and the broker is left with what is wanted."""

from collections.abc import Mapping, Sequence

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.asks import MOST_TOPICS, Asks

pytestmark = pytest.mark.anyio
TOPICS = st.sampled_from("abcd")
STEPS = st.lists(st.tuples(st.sampled_from(["begin", "end", "pass"]), TOPICS), max_size=30)


async def settled() -> None:
    """Let whatever can go on do so; nothing here waits for more than the next turns of the event loop."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


class Broker:
    """What a broker holds and was sent."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.packets: list[tuple[str, tuple[str, ...]]] = []

    def subscribe(self, wanted: Mapping[str, int]) -> None:
        self.held.update(wanted)
        self.packets.append(("subscribe", tuple(wanted)))

    def unsubscribe(self, left: Sequence[str]) -> None:
        for topic in left:
            self.held.pop(topic, None)
        self.packets.append(("unsubscribe", tuple(left)))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def asks(broker: Broker) -> Asks:
    return Asks(broker.subscribe, broker.unsubscribe)


async def test_topics_of_one_moment_share_a_packet(asks: Asks, broker: Broker) -> None:
    asks.begin({"a": 0})
    asks.begin({"b": 1})
    await settled()
    assert broker.packets == [("subscribe", ("a", "b"))]
    assert broker.held == {"a": 0, "b": 1}


async def test_what_is_left_goes_along_with_what_is_asked_for_next(asks: Asks, broker: Broker) -> None:
    asks.begin({"a": 0, "b": 0})
    await settled()
    asks.end("a")
    await settled()
    asks.end("b")
    asks.begin({"c": 0})
    await settled()
    assert broker.packets[1:] == [("unsubscribe", ("a", "b")), ("subscribe", ("c",))]


async def test_what_is_left_and_followed_by_nothing_is_left_a_moment_later(asks: Asks, broker: Broker) -> None:
    asks.begin({"a": 0})
    await settled()
    asks.end("a")
    with anyio.fail_after(5):
        while broker.held:  # noqa: ASYNC110 - a timer ends it
            await anyio.sleep(0.01)
    assert broker.packets[1:] == [("unsubscribe", ("a",))]


async def test_no_packet_names_more_topics_than_the_bound(asks: Asks, broker: Broker) -> None:
    wanted = {f"{number}": 0 for number in range(2 * MOST_TOPICS + 1)}
    asks.begin(wanted)
    await settled()
    for topic in wanted:
        asks.end(topic)
    asks.begin({"last": 0})
    await settled()
    assert max(len(named) for _, named in broker.packets) == MOST_TOPICS
    assert broker.held == {"last": 0}


async def test_a_connection_that_has_ended_is_asked_for_nothing(asks: Asks, broker: Broker) -> None:
    asks.begin({"a": 0})
    asks.end("b")
    asks.forget()
    await anyio.sleep(0.1)
    assert broker.packets == []


@given(STEPS)
def test_in_the_end_the_broker_holds_what_was_begun_and_not_ended(steps: list[tuple[str, str]]) -> None:
    async def run() -> None:
        broker, wanted = Broker(), set[str]()
        asks = Asks(broker.subscribe, broker.unsubscribe)
        for what, topic in steps:
            if what == "begin":
                wanted.add(topic)
                asks.begin({topic: 0})
            elif what == "end":
                wanted.discard(topic)
                asks.end(topic)
            else:
                await settled()
        asks.begin({"last": 0})
        await settled()
        assert broker.held.keys() == wanted | {"last"}

    anyio.run(run)
