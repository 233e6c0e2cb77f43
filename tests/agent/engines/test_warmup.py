"""Threads and arenas are taken where measuring says that they pay, and no longer is measured than may be."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.fixtures import tiny

from shoal_agent.engines import Array, EngineError, EngineSetup, Instruments
from shoal_agent.engines.warmup import Warmup, WarmupBounds, thread_counts

ONE = EngineSetup("onnxruntime", "1.28.0")
BOUNDS = WarmupBounds(warmup_s=1.0, most_threads=4, least_gain_ratio=0.1, most_cpu_ratio=1.5, arena_bytes=1000)


class _Board:
    """A board on which a setting takes as long as the test says; its clock moves as models run and load."""

    def __init__(self, run_s: Mapping[tuple[int, bool], float], cpu_ratio: float = 1.0, load_s: float = 0.0) -> None:
        self.run_s = run_s
        self.cpu_ratio = cpu_ratio
        self.load_s = load_s
        self.arena_bytes = 0
        self.now_s = self.spent_s = 0.0
        self.resident = 10_000
        self.opened: list[tuple[int, bool]] = []
        self.open_now = self.most_open = 0

    def opens(self, setup: EngineSetup) -> "_Model":
        self.opened.append((setup.threads, setup.has_arena))
        self.now_s += self.load_s
        return _Model(self, setup)

    def choose(
        self, bounds: WarmupBounds = BOUNDS, *, can_have_arena: bool = False, is_batched: bool = True
    ) -> tuple[int, bool]:
        instruments = Instruments(lambda: self.now_s, lambda: self.spent_s, lambda: self.resident, release=lambda: None)
        self.chosen = Warmup(self.opens, {"x": tiny.GOLDEN}, bounds, instruments).choose(
            ONE, can_have_arena=can_have_arena, is_batched=is_batched
        )
        return self.chosen.threads, self.chosen.has_arena


class _Model:
    inputs, outputs = tiny.INPUTS, tiny.OUTPUTS

    def __init__(self, board: _Board, setup: EngineSetup) -> None:
        self.setup = setup
        self._board = board
        self._grown_bytes = board.arena_bytes if setup.has_arena else 0
        self.runs = 0
        board.resident += self._grown_bytes
        board.open_now += 1
        board.most_open = max(board.most_open, board.open_now)

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert set(inputs) == {"x"}
        self.runs += 1
        run_s = self._board.run_s[self.setup.threads, self.setup.has_arena]
        if self.runs == 1:
            run_s *= 3  # the first one makes what later ones use
        self._board.now_s += run_s
        self._board.spent_s += run_s * (self._board.cpu_ratio if self.setup.threads > 1 else 1) * self.setup.threads
        return {}

    def close(self) -> None:
        self._board.open_now -= 1
        self._board.resident -= self._grown_bytes


def _times(one: float, two: float, four: float, arena: float = 1.0) -> dict[tuple[int, bool], float]:
    plain = {(1, False): one, (2, False): two, (4, False): four}
    return plain | {(threads, True): run_s * arena for (threads, _), run_s in plain.items()}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (_times(0.008, 0.004, 0.002), 4),
        (_times(0.008, 0.004, 0.0039), 2),
        (_times(0.008, 0.0075, 0.0075), 1),
        (_times(0.008, 0.0079, 0.0029), 4),
        (_times(0.008, 0.016, 0.03), 1),
    ],
)
def test_more_threads_are_taken_where_each_step_saves_a_tenth(
    times: dict[tuple[int, bool], float], expected: int
) -> None:
    board = _Board(times)
    assert board.choose() == (expected, False)
    assert board.chosen.run_ms == pytest.approx(times[expected, False] * 1000)


def test_the_fastest_is_not_taken_if_it_takes_far_more_of_the_processors() -> None:
    greedy = _times(0.008, 0.0056, 0.0050)  # four threads take 2.5 times the CPU time of one, two 1.4 times
    assert _Board(greedy).choose() == (2, False)
    assert _Board(greedy).choose(replace(BOUNDS, most_cpu_ratio=3.0)) == (4, False)


def test_an_arena_is_taken_if_it_is_faster_and_small() -> None:
    times = _times(0.008, 0.009, 0.009, arena=0.5)
    small, large = _Board(times), _Board(times)
    small.arena_bytes, large.arena_bytes = 1000, 1001
    assert small.choose(can_have_arena=True) == (1, True)
    assert large.choose(can_have_arena=True) == (1, False)
    assert _Board(times).choose(can_have_arena=False) == (1, False)
    assert _Board(_times(0.008, 0.009, 0.009, arena=0.95)).choose(can_have_arena=True) == (1, False)


def test_only_one_setting_is_loaded_at_a_time() -> None:
    board = _Board(_times(0.008, 0.004, 0.002))
    board.choose(can_have_arena=True)
    assert (board.most_open, board.open_now) == (1, 0)
    assert board.opened == [(1, False), (2, False), (4, False), (4, True), (4, False)]
    assert board.chosen.together == 8, "which costs this model as little as one sample"


def test_a_model_without_batches_is_never_measured_together() -> None:
    board = _Board(_times(1e-3, 1e-3, 1e-3))
    board.choose(is_batched=False)
    assert board.chosen.together == 1
    board.choose()
    assert board.chosen.together == 8


def test_nothing_further_is_begun_when_the_time_is_over() -> None:
    slow = _Board(_times(0.8, 0.4, 0.2), load_s=0.3)
    assert slow.choose() == (2, False), "one setting is measured however slow the model is"
    assert slow.opened == [(1, False), (2, False)]
    assert slow.now_s < 0.3 + 3 * 0.8 + 1.0 + 0.3 + 3 * 0.4 + 0.4


def test_the_first_run_which_makes_what_later_ones_use_counts_for_nothing_where_there_is_a_second() -> None:
    board = _Board(_times(0.08, 0.9, 0.9))  # the first takes 0.24 s, the second 0.08 s, and then the time is over
    board.choose()
    assert board.chosen.run_ms == pytest.approx(80.0)


def test_a_warm_up_ends_in_time_whatever_a_run_takes() -> None:
    for run_s in (1e-6, 1e-4, 0.003, 0.01):
        board = _Board(_times(run_s, run_s, run_s))
        board.choose(can_have_arena=True)
        assert board.now_s <= BOUNDS.warmup_s + 10 * run_s


def test_nothing_is_measured_if_there_is_no_time_for_it() -> None:
    board = _Board({})
    assert board.choose(replace(BOUNDS, warmup_s=0.0)) == (1, False)
    assert board.opened == []


def test_a_model_that_fails_on_its_golden_input_is_closed() -> None:
    board = _Board({})

    def fails(setup: EngineSetup) -> _Model:
        model = board.opens(setup)
        model.infer = _fail  # type: ignore[method-assign, assignment]
        return model

    with pytest.raises(EngineError, match="no such input"):
        Warmup(fails, {"x": tiny.GOLDEN}, BOUNDS, Instruments(release=lambda: None)).choose(ONE, can_have_arena=False)
    assert board.open_now == 0


def _fail(_: Mapping[str, Array]) -> dict[str, Array]:
    raise EngineError("no such input")


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, ()), (2, (2,)), (3, (2, 3)), (4, (2, 4)), (6, (2, 4, 6)), (12, (2, 4, 8, 12))]
)
def test_powers_of_two_and_all_cores_are_measured(cores: int, expected: tuple[int, ...]) -> None:
    assert thread_counts(cores) == expected
