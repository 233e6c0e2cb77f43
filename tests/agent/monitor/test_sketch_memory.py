"""The memory that watching a feature takes is what the documentation says, however much was seen."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal_agent.monitor.answer_sketch import BUFFER_ANSWERS, BUFFER_SCORES, AnswerSketch
from shoal_agent.monitor.answers import Given
from shoal_agent.monitor.budget import SketchBudget
from shoal_agent.monitor.feature_sketch import FeatureSketch
from shoal_agent.monitor.records import RecordPlan
from shoal_agent.settings import MonitorSettings
from shoal_numerics import HistogramEdges
from shoal_numerics.label_counts import LabelLayout
from shoal_numerics.window_counts import MAX_SMALL_ROWS

GENEROUS = MonitorSettings(max_values_per_s=1e12)


def sketch_of(features: int) -> FeatureSketch:
    reference = np.random.default_rng(0).standard_normal((2000, features))
    return FeatureSketch(HistogramEdges.equal_mass(reference, 100), SketchBudget(GENEROUS, 0.0))


def held_bytes(sketch: FeatureSketch) -> int:
    """Add up the arrays and buffers that the sketch holds, found by looking rather than by asking it."""
    counts = vars(vars(sketch)["_counts"])
    arrays = [one for one in counts.values() if isinstance(one, np.ndarray)]
    return sum(array.nbytes for array in arrays) + vars(sketch)["_waiting"].nbytes


@pytest.mark.parametrize("features", [1, 30, 64, 500])
def test_a_feature_takes_at_most_600_bytes_whatever_was_seen(features: int) -> None:
    sketch, random = sketch_of(features), np.random.default_rng(1)
    for size in (1, 7, 1, 300, 48, 1):
        rows = random.standard_normal((size, features)).astype(np.float32)
        sketch.add(rows, 0.0)
        sketch.add_one(rows[0], 0.0)
        assert sketch.nbytes == held_bytes(sketch)
        assert sketch.nbytes / features <= 600
    assert sketch.finish().row_count == 358 + 6


def test_a_feature_takes_no_more_where_many_rows_have_come() -> None:
    sketch, row = sketch_of(3), np.zeros(3, dtype=np.float32)
    for _ in range(5):
        sketch.add_one(row, 0.0)
        sketch.add(np.ones((MAX_SMALL_ROWS // 3, 3), dtype=np.float32), 0.0)
        assert sketch.nbytes == held_bytes(sketch)
        assert sketch.nbytes / 3 <= 600
    counted = sketch.finish()
    assert counted.row_count == sketch.seen > MAX_SMALL_ROWS
    assert counted.counts.max() == 5 * (MAX_SMALL_ROWS // 3)


def test_rows_that_the_window_has_no_room_for_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_numerics.window_counts.MAX_WINDOW_ROWS", 100)
    sketch = sketch_of(2)
    rows = np.zeros((60, 2), dtype=np.float32)
    sketch.add(rows, 0.0)
    sketch.add(rows, 0.0)
    for row in rows:
        sketch.add_one(row, 0.0)
    assert (sketch.seen, sketch.finish().row_count) == (180, 100)


@pytest.mark.parametrize("classes", [1, 10, 40_000])
def test_waiting_answers_are_bounded_in_number_and_bytes(classes: int) -> None:
    given: list[str] = []

    def remember(answers: Sequence[Given], labels: NDArray[np.int32], records: bytes) -> None:
        assert len(labels) == sum(samples for _, samples, _ in answers)
        assert len(records) == plan.record_bytes * len(labels)
        given.extend(answer_id for answer_id, _, _ in answers)

    layout = LabelLayout(min(classes, 1024), 10, 0)
    plan = RecordPlan("classes", layout, HistogramEdges.uniform(0, 1, 10), (), np.empty(0, dtype=np.int64))
    sketch = AnswerSketch(plan, remember)
    scores = np.zeros((1, classes), dtype=np.float32)
    sketch.add("first", scores, 1.0, 0.0)
    for number in range(2 * BUFFER_ANSWERS):
        sketch.add_one(f"a-{number}", scores.tobytes(), 1.0, 0.0)
        waiting = vars(sketch)
        assert len(waiting["_answers"]) < BUFFER_ANSWERS
        assert len(waiting["_scores"]) <= BUFFER_SCORES
    sketch.settle()
    assert given == ["first", *(f"a-{number}" for number in range(2 * BUFFER_ANSWERS))]
    assert sketch.count == 2 * BUFFER_ANSWERS + 1
