"""The outbox at the hub: any network, any crash, each message committed once, and never an acknowledgement too far."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal_contract.telemetry import OutboxPosition
from shoal_hub.ingest.sequence import Position, plan

STREAM, OTHER = "a" * 16, "b" * 16


def at(sequence: int, oldest: int = 1, stream: str = STREAM) -> OutboxPosition:
    return OutboxPosition(stream=stream, sequence=sequence, oldest=oldest)


def test_what_follows_is_committed_in_order_however_it_arrives() -> None:
    planned = plan(Position(STREAM, 1), [at(4), at(2), at(3)])
    assert (planned.commit, planned.position, planned.lost) == ((1, 2, 0), Position(STREAM, 4), 0)


def test_what_is_ahead_of_a_gap_waits() -> None:
    planned = plan(Position(STREAM, 1), [at(3), at(4)])
    assert (planned.commit, planned.wait, planned.position) == ((), (0, 1), Position(STREAM, 1))


def test_repetitions_are_neither_committed_nor_kept() -> None:
    planned = plan(Position(STREAM, 5), [at(5), at(3), at(6), at(6)])
    assert (len(planned.commit), planned.wait, planned.position.sequence) == (1, (), 6)


def test_what_the_device_has_given_up_is_lost_and_the_rest_goes_on() -> None:
    planned = plan(Position(STREAM, 5), [at(9, oldest=9)])
    assert (planned.commit, planned.position.sequence, planned.lost) == ((0,), 9, 3)


def test_what_arrived_before_the_device_gave_it_up_is_not_lost() -> None:
    planned = plan(Position(STREAM, 5), [at(7, oldest=6), at(9, oldest=9)])
    assert (planned.commit, planned.position.sequence, planned.lost) == ((0, 1), 9, 2)


def test_a_new_stream_begins_at_its_oldest() -> None:
    planned = plan(Position(STREAM, 50), [at(4, oldest=3, stream=OTHER), at(3, oldest=3, stream=OTHER)])
    assert (planned.commit, planned.position, planned.lost) == ((1, 0), Position(OTHER, 4), 0)


def test_a_new_stream_does_not_swallow_the_rest_of_the_old_one() -> None:
    planned = plan(Position(STREAM, 1), [at(1, stream=OTHER), at(2)])
    assert (planned.commit, planned.position) == ((1, 0), Position(OTHER, 1))


def test_what_comes_late_of_an_earlier_stream_is_dropped_also_where_it_was_never_seen() -> None:
    planned = plan(Position(OTHER, 3), [at(1), at(2), at(4, stream=OTHER)])
    assert (planned.commit, planned.wait, planned.position) == ((2,), (), Position(OTHER, 4))


def test_a_jump_over_a_billion_takes_no_time() -> None:
    far = 2**40
    assert plan(Position(STREAM, 1), [at(far, oldest=far)]).lost == far - 2


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=20), st.integers(0, 10))
def test_the_position_is_what_was_committed_without_gaps_except_for_what_is_lost(
    drawn: list[tuple[int, int]], start: int
) -> None:
    candidates = [at(sequence, oldest) for sequence, oldest in drawn]
    planned = plan(Position(STREAM, start), candidates)
    sequences = [candidates[index].sequence for index in planned.commit]
    assert sequences == sorted(set(sequences))
    assert planned.position.sequence - start == len(sequences) + planned.lost
    assert all(candidates[index].sequence > planned.position.sequence + 1 for index in planned.wait)


@dataclass
class Hub:
    """The hub: what is on disk outlives a crash, what waits does not."""

    position: Position = field(default_factory=Position)
    committed: list[tuple[str, int]] = field(default_factory=list)
    waiting: list[OutboxPosition] = field(default_factory=list)


class Outbox(RuleBasedStateMachine):
    """A device with an outbox, a network that loses, doubles and reorders, a hub that crashes."""

    @initialize()
    def begin(self) -> None:
        self.stream = STREAM
        self.last = 0
        self.acknowledged = 0
        self.network: list[OutboxPosition] = []
        self.hub = Hub()

    @rule(count=st.integers(1, 4))
    def put(self, count: int) -> None:
        self.last += count

    @rule(count=st.integers(1, 6))
    def send(self, count: int) -> None:
        first = self.acknowledged + 1
        for sequence in range(first, min(first + count, self.last + 1)):
            self.network.append(at(sequence, oldest=first))

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Some of what is on its way arrives, in any order; it may arrive again."""
        if not self.network:
            return
        picks = data.draw(st.lists(st.integers(0, len(self.network) - 1), min_size=1, max_size=6))
        candidates = [*self.hub.waiting, *(self.network[index] for index in picks)]
        planned = plan(self.hub.position, candidates)
        assert planned.lost == 0
        self.hub.committed += [(self.stream, candidates[index].sequence) for index in planned.commit]
        self.hub.position = planned.position
        self.hub.waiting = [candidates[index] for index in planned.wait]

    @rule()
    def lose(self) -> None:
        self.network = self.network[::2]

    @rule()
    def acknowledge(self) -> None:
        if self.hub.position.stream == self.stream:
            self.acknowledged = max(self.acknowledged, self.hub.position.sequence)

    @rule()
    def crash(self) -> None:
        self.hub.waiting = []

    @invariant()
    def each_is_committed_once_and_in_order(self) -> None:
        if hasattr(self, "hub"):
            sequences = [sequence for _, sequence in self.hub.committed]
            assert sequences == list(range(1, len(sequences) + 1))

    @invariant()
    def nothing_is_acknowledged_that_is_not_committed(self) -> None:
        if hasattr(self, "hub"):
            assert self.acknowledged <= len(self.hub.committed)

    def teardown(self) -> None:
        """Once the network is kind, everything arrives."""
        if not hasattr(self, "hub"):
            return
        for _ in range(self.last + 1):
            for sequence in range(self.acknowledged + 1, self.last + 1):
                one = at(sequence, oldest=self.acknowledged + 1)
                candidates = [*self.hub.waiting, one]
                planned = plan(self.hub.position, candidates)
                self.hub.committed += [(self.stream, candidates[index].sequence) for index in planned.commit]
                self.hub.position = planned.position
                self.hub.waiting = [candidates[index] for index in planned.wait]
            self.acknowledge()
        assert len(self.hub.committed) == self.last


Outbox.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestOutbox = Outbox.TestCase
