"""A candidate in shadow: what it disagrees on is counted, within a budget, and no request feels it."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import anyio
import numpy as np
import pytest
from tests.agent.serving.conftest import GatedEngine, served_tiny
from tests.agent.trials.conftest import START, Tried, trial, trying
from tests.fixtures import tiny

from shoal_agent.engines import Array
from shoal_agent.trials.comparison import BURST_S, MAX_LABELS_WAITING, Comparison, Seen
from shoal_agent.trials.shadow import MAX_WAITING
from shoal_contract.desired import DesiredConfig
from shoal_contract.telemetry import ShadowWindow

pytestmark = pytest.mark.anyio
SAME, TURNED = [-0.5, -1.0, 2.0, 0.25], [0.5, -1.0, 2.0, 0.25]
AT_ONCE = DesiredConfig(window_requests=10, window_s=1)


async def window_of(tried: Tried, requests: int) -> ShadowWindow:
    """Return the window once the candidate has seen so many requests."""
    (comparison,) = tried.shadow._comparisons.values()
    with anyio.fail_after(10):
        while comparison.requests < requests:  # noqa: ASYNC110 - a thread counts
            await anyio.sleep(0.005)
    (window,) = tried.shadow.take_windows(START + timedelta(seconds=2), AT_ONCE)
    return window


async def test_disagreement_is_counted_and_nothing_else_is_sent() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", trial(hard_examples=4), START)
        tried.shadow.begin("tiny", trial(hard_examples=4))
        for x in (SAME, TURNED, SAME, TURNED, SAME):
            await tried.infer(x)
        window = await window_of(tried, 5)
    assert (window.compared, window.disagreed, window.errors, window.skipped) == (5, 2, 0, 0)
    assert (window.version, window.against, sum(window.latency)) == (2, 1, 5)
    assert window.examples == (), "the device's owner has not said that inputs may leave it"
    assert len(tried.seen.answered) == 5, "the monitor sees what serves, once"


async def test_a_few_hard_examples_go_out_where_both_sides_want_them() -> None:
    async with trying(may_send=True) as tried:
        asked = trial(hard_examples=2)
        tried.arms.start("tiny", asked, START)
        tried.shadow.begin("tiny", asked)
        for scale in (1.0, 2.0, 3.0):
            await tried.infer([scale * value for value in TURNED])
        await tried.infer(SAME)
        window = await window_of(tried, 4)
    assert (window.disagreed, len(window.examples)) == (3, 2)
    assert window.examples[0].candidate_confidence >= window.examples[1].candidate_confidence
    for example in window.examples:
        x = np.frombuffer(base64.b64decode(example.data), "<f4")[np.newaxis]
        assert example.label == tiny.probabilities(x).argmax() != example.candidate_label


async def test_labels_are_counted_for_both_whether_they_come_before_the_candidate_ran_or_after() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", trial(), START)
        tried.shadow.begin("tiny", trial())
        right = int(tiny.probabilities(np.array([SAME], dtype=np.float32)).argmax())
        tried.shadow.note_labels("tiny", "early", [right])
        await tried.infer(SAME, answer_id="early")
        await tried.infer(TURNED, answer_id="late")
        await tried.infer(SAME, answer_id="never")
        (comparison,) = tried.shadow._comparisons.values()
        with anyio.fail_after(10):
            while comparison.compared < 3:  # noqa: ASYNC110 - a thread counts
                await anyio.sleep(0.005)
        chosen = int(tiny.probabilities(np.array([TURNED], dtype=np.float32)).argmax())
        tried.shadow.note_labels("tiny", "late", [chosen])
        tried.shadow.note_labels("tiny", "late", [chosen])
        tried.shadow.note_labels("tiny", "unknown", [chosen])
        tried.shadow.note_labels("other", "never", [chosen])
        (window,) = tried.shadow.take_windows(START + timedelta(seconds=2), AT_ONCE)
    assert (window.labelled, window.against_correct) == (2, 2), "each answer counts once"
    assert window.correct == 1, "on the turned one the candidate chose otherwise"


async def test_labels_that_come_after_their_window_are_told_with_the_next_one_and_memory_is_bounded() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", trial(), START)
        tried.shadow.begin("tiny", trial())
        await tried.infer(SAME, answer_id="one")
        await window_of(tried, 1)
        assert tried.shadow.take_windows(START + timedelta(seconds=9), AT_ONCE) == [], "there is nothing to tell"
        tried.shadow.note_labels("tiny", "one", [0])
        (window,) = tried.shadow.take_windows(START + timedelta(seconds=9), AT_ONCE)
        assert (window.compared, window.labelled) == (0, 1)
        for number in range(MAX_LABELS_WAITING + 5):
            tried.shadow.note_labels("tiny", f"early-{number}", [0])
        (comparison,) = tried.shadow._comparisons.values()
        assert len(comparison._told) == MAX_LABELS_WAITING


async def test_a_candidate_that_fails_is_counted_and_no_request_feels_it() -> None:
    async with trying() as tried:
        tried.candidate.fails = True
        tried.arms.start("tiny", trial(), START)
        tried.shadow.begin("tiny", trial())
        assert [await tried.infer(SAME) for _ in range(3)] == ["1"] * 3
        window = await window_of(tried, 3)
    assert (window.compared, window.errors) == (0, 3)


async def test_requests_never_wait_for_a_candidate_that_hangs() -> None:
    async with trying() as tried:
        gated = GatedEngine(served_tiny().engine)
        await tried.arms.candidates.swap("tiny", served_tiny(2, gated))
        tried.arms.start("tiny", trial(), START)
        tried.shadow.begin("tiny", trial())
        for _ in range(MAX_WAITING + 5):
            assert await tried.infer(SAME) == "1"
        await gated.wait_entered()
        gated.gate.set()
        window = await window_of(tried, MAX_WAITING + 5)
    assert window.skipped >= 4
    assert window.compared + window.skipped == MAX_WAITING + 5


async def test_a_share_of_the_requests_is_seen() -> None:
    chances = iter([0.1, 0.9, 0.2, 0.8, 0.29, 0.3])
    async with trying(chance=lambda: next(chances)) as tried:
        asked = trial(share=0.3)
        tried.arms.start("tiny", asked, START)
        tried.shadow.begin("tiny", asked)
        for _ in range(6):
            await tried.infer(SAME)
        assert (await window_of(tried, 3)).compared == 3


async def test_a_trial_that_goes_on_keeps_its_counts_and_another_begins_anew() -> None:
    async with trying() as tried:
        tried.arms.start("tiny", trial(), START)
        tried.shadow.begin("tiny", trial())
        await tried.infer(SAME)
        tried.shadow.begin("tiny", trial())
        assert (await window_of(tried, 1)).compared == 1
        tried.shadow.begin("tiny", trial(id="t-2"))
        assert tried.shadow.take_windows(START + timedelta(days=1), AT_ONCE) == []


class SlowEngine:
    """Takes a stated time by the clock that it is given."""

    inputs, outputs = tiny.INPUTS, tiny.OUTPUTS

    def __init__(self, clock: list[float], takes_s: float) -> None:
        self._clock, self._takes_s = clock, takes_s

    @property
    def is_in_use(self) -> bool:
        return False

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._clock[0] += self._takes_s
        return {"probabilities": tiny.probabilities(inputs["x"])}

    def close(self) -> None:
        pass


async def test_a_candidate_spends_no_more_than_its_share_of_the_time() -> None:
    clock = [0.0]
    comparison = Comparison(
        "tiny", trial(max_cpu_share=0.25), may_send=False, now=lambda: START, monotonic=lambda: clock[0]
    )
    x = np.array([SAME], dtype=np.float32)
    seen = Seen(served_tiny(1), {"x": x}, {"probabilities": tiny.probabilities(x)})
    slow = served_tiny(2, SlowEngine(clock, 0.5))
    spent_s = 0.0
    for _ in range(400):
        if comparison.has_budget():
            comparison.run(slow, seen)
            spent_s += 0.5
        else:
            comparison.skip()
        clock[0] += 0.1
    assert spent_s <= 0.25 * clock[0] + BURST_S + 0.5
    assert spent_s >= 0.25 * clock[0] - BURST_S
    assert comparison.skipped > 0


@pytest.mark.parametrize(("difference", "disagreed"), [(0.04, 0), (0.06, 1), (np.nan, 1)])
async def test_outputs_that_choose_no_label_agree_within_the_tolerance(difference: float, disagreed: int) -> None:
    baseline = tiny.tiny_manifest().baseline.model_copy(update={"predictions": ()})
    manifest = tiny.tiny_manifest().model_copy(update={"baseline": baseline})
    served, candidate = (replace(served_tiny(number), manifest=manifest) for number in (1, 2))
    x = np.array([SAME], dtype=np.float32)
    given = {"probabilities": tiny.probabilities(x) + np.float32(difference)}
    comparison = Comparison("tiny", trial(tolerance=0.05), may_send=False, now=lambda: START)
    comparison.run(candidate, Seen(served, {"x": x}, given))
    window = comparison.finish()
    assert (window.compared, window.disagreed) == (1, disagreed)


async def test_batches_whose_examples_are_all_alike_are_kept_to_the_bound() -> None:
    asked = trial(hard_examples=4)
    comparison = Comparison("tiny", asked, may_send=True, now=lambda: START)
    x = np.full((16, 4), 50.0, dtype=np.float32)
    given, other = np.tile([1.0, 0.0, 0.0], (16, 1)), np.tile([0.0, 1.0, 0.0], (16, 1))

    class Fixed(SlowEngine):
        def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"probabilities": other[: len(inputs["x"])].astype(np.float32)}

    for _ in range(3):
        seen = Seen(served_tiny(1), {"x": x}, {"probabilities": given.astype(np.float32)})
        comparison.run(served_tiny(2, Fixed([0.0], 0.0)), seen)
    window = comparison.finish()
    assert (window.disagreed, len(window.examples)) == (48, 4)
