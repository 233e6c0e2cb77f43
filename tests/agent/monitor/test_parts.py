"""What a window tells beside its features: an embedding, slices and misfits, exact and in constant memory."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.agent.monitor.test_monitor import NOW_ALL, START, Clock
from tests.fixtures import tiny

from shoal_agent.engines import load_engine
from shoal_agent.monitor import FinishedWindow, Monitor
from shoal_agent.monitor.parts import EMBEDDED, EMBEDDED_EACH, PartsPlan, WindowParts
from shoal_agent.monitor.sketch import BaselineEdges
from shoal_agent.monitor.usual import UsualRequest
from shoal_agent.serving import ServedModel
from shoal_agent.settings import MonitorSettings
from shoal_contract.embedding import EmbeddingBaseline, EmbeddingCounts, EmbeddingSums
from shoal_contract.manifest import VersionManifest
from shoal_contract.slices import MAX_SLICES, SliceBaseline, SliceCounts
from shoal_contract.telemetry import OutboxPosition, SchemaMisfits
from shoal_numerics import Embedding, Histogram

SCALE = 2.0
EMPTY = SliceCounts(samples=0, predictions=(0, 0, 0), confidence=(0, 0, 0, 0))
SLICES = (
    SliceBaseline(name="low", feature=0, high=0.0, reference=EMPTY),
    SliceBaseline(name="middle", feature=1, low=-0.5, high=0.5, reference=EMPTY),
    SliceBaseline(name="confidence alone", feature=1, low=0.0, reference=EMPTY.model_copy(update={"predictions": ()})),
)


def watched_manifest(output: str | None = None, slices: tuple[SliceBaseline, ...] = SLICES) -> VersionManifest:
    base = tiny.tiny_manifest()
    nothing = EmbeddingSums(samples=0, sums=(0,) * 64, squares=(0,) * 64)
    embedding = EmbeddingBaseline(output=output, seed=7, scale=SCALE, reference=nothing)
    baseline = base.baseline.model_copy(update={"embedding": embedding, "slices": slices})
    return base.model_copy(update={"baseline": baseline})


def served_by(manifest: VersionManifest) -> ServedModel:
    variant = tiny.onnx_variant()
    engine = load_engine(tiny.path_of(variant), variant, tiny.INPUTS, tiny.OUTPUTS)
    return ServedModel(manifest.model, manifest.version, variant.target, manifest, "a" * 64, engine)


def samples(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, tiny.FEATURES)).astype(np.float32)


def window_of(served: ServedModel, batches: list[NDArray[np.float32]]) -> FinishedWindow:
    monitor, clock = Monitor(Clock()), Clock()
    for x in batches:
        monitor.observe(served, {"x": x}, {"probabilities": tiny.probabilities(x)}, 1.0, "a-1")
    [window] = monitor.take_windows(clock.advance(100), NOW_ALL)
    return window


def told(found: EmbeddingSums) -> EmbeddingCounts:
    return EmbeddingCounts(seed=7, **found.model_dump())


@given(st.lists(st.integers(1, 150), min_size=1, max_size=6))
def test_slices_count_what_the_rule_says_however_samples_come(sizes: list[int]) -> None:
    x = samples(sum(sizes))
    window = window_of(served_by(watched_manifest()), np.split(x, np.cumsum(sizes)[:-1]))
    scores = tiny.probabilities(x)
    labels, confidence = scores.argmax(axis=1), scores.max(axis=1)
    edges = BaselineEdges.of(tiny.tiny_manifest().baseline).confidence
    within = (x[:, 0] <= 0, (x[:, 1] > -0.5) & (x[:, 1] <= 0.5), x[:, 1] > 0)
    assert window.slices == tuple(
        SliceCounts(
            samples=int(one.sum()),
            predictions=tuple(np.bincount(labels[one], minlength=3).tolist()) if place < 2 else (),
            confidence=tuple(Histogram.of(edges, confidence[one]).counts.tolist()),
        )
        for place, one in enumerate(within)
    )


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_the_embedding_sums_the_first_samples_of_each_request(sizes: list[int]) -> None:
    batches = np.split(samples(sum(sizes)), np.cumsum(sizes)[:-1])
    window = window_of(served_by(watched_manifest()), batches)
    first = np.concatenate([batch[:EMBEDDED_EACH] for batch in batches])
    assert window.embedding == told(Embedding(7, SCALE).sums(first))


def test_a_declared_output_is_embedded_in_place_of_the_inputs() -> None:
    x = samples(3)
    window = window_of(served_by(watched_manifest("probabilities")), [x])
    assert window.embedding == told(Embedding(7, SCALE).sums(tiny.probabilities(x)))


def test_no_more_samples_are_embedded_than_a_window_may_have_and_it_says_how_many() -> None:
    window = window_of(served_by(watched_manifest()), [samples(EMBEDDED_EACH)] * (EMBEDDED // EMBEDDED_EACH + 5))
    assert window.embedding is not None
    assert (window.embedding.samples, window.samples) == (EMBEDDED, EMBEDDED + 5 * EMBEDDED_EACH)


def test_memory_is_bounded_and_the_same_after_any_number_of_samples() -> None:
    """With as many slices as there may be, each with all that it may count."""
    large = SliceCounts(samples=0, predictions=(0,) * 64, confidence=(0, 0, 0, 0))
    slices = tuple(SliceBaseline(name=f"{n}", feature=n % 4, high=0.0, reference=large) for n in range(MAX_SLICES))
    manifest = watched_manifest(slices=slices)
    edges = BaselineEdges.of(manifest.baseline)
    parts = WindowParts(PartsPlan.of(manifest.baseline, edges.features, edges.confidence))
    before = parts.size_bytes
    for count in (1, 5, 700):
        x = samples(count)
        parts.add(x, np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.float32), x[: parts.embeds])
    assert parts.size_bytes == before
    assert before <= 32 * 1024, before


def test_what_parts_look_at_is_taken_from_the_budget_of_all_watching() -> None:
    served, clock = served_by(watched_manifest()), Clock()
    settings = MonitorSettings(max_values_per_s=400)
    monitor = Monitor(Clock(), monotonic=lambda: 0.0, settings=settings)
    for _ in range(10):
        x = samples(50)
        monitor.observe(served, {"x": x}, {"probabilities": tiny.probabilities(x)}, 1.0, "a-1")
    [window] = monitor.take_windows(clock.advance(100), NOW_ALL)
    assert window.embedding is not None
    assert window.slices is not None
    sketched = (window.samples - window.unsketched) * tiny.FEATURES
    embedded = window.embedding.samples * tiny.FEATURES
    sliced = max(one.samples for one in window.slices) * len(SLICES)
    assert window.samples == 500
    assert sketched + embedded + sliced <= 2 * settings.max_values_per_s


def test_nobody_who_answers_waits_for_what_parts_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_by(watched_manifest())
    plain = served_by(tiny.tiny_manifest().model_copy(update={"version": served.version + 1}))
    monitor, clock = Monitor(Clock()), Clock()
    begun, go_on = threading.Event(), threading.Event()
    project = Embedding.project

    def slow(self: Embedding, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        begun.set()
        assert go_on.wait(10)
        return project(self, rows)

    monkeypatch.setattr(Embedding, "project", slow)
    x = samples(1)

    def observe(one: ServedModel) -> None:
        monitor.observe(one, {"x": x}, {"probabilities": tiny.probabilities(x)}, 1.0, "a-1")

    waiting = threading.Thread(target=observe, args=[served])
    waiting.start()
    assert begun.wait(10)
    other = threading.Thread(target=observe, args=[plain], daemon=True)
    other.start()
    other.join(10)
    assert not other.is_alive(), "it has waited for the embedding of another model"
    go_on.set()
    waiting.join(10)
    found = {window.version: window for window in monitor.take_windows(clock.advance(100), NOW_ALL)}
    embedding = found[served.version].embedding
    assert embedding is not None
    assert (embedding.samples, found[plain.version].samples) == (1, 1)


def test_what_is_shown_to_a_window_that_has_ended_is_let_go() -> None:
    manifest = watched_manifest()
    edges = BaselineEdges.of(manifest.baseline)
    parts = WindowParts(PartsPlan.of(manifest.baseline, edges.features, edges.confidence))
    x = samples(3)
    monitor = Monitor(Clock())
    served = served_by(manifest)
    monitor.observe(served, {"x": x}, {"probabilities": tiny.probabilities(x)}, 1.0, "a-1")
    [window] = monitor.take_windows(Clock().advance(100), NOW_ALL)
    before = parts.finish(window)
    parts.add(x, np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.float32), x)
    assert parts.finish(window) == before


def test_what_a_request_did_not_fit_by_is_counted_and_never_sketched() -> None:
    served, clock = served_by(tiny.tiny_manifest()), Clock()
    monitor = Monitor(Clock())
    for misfit in ("missing", "extra", "extra", "retyped", "reshaped", "non_finite"):
        monitor.observe_error(served, misfit)  # type: ignore[arg-type]
    monitor.observe_error(served)
    [window] = monitor.take_windows(clock.advance(100), NOW_ALL)
    assert window.misfits == SchemaMisfits(missing=1, extra=2, retyped=1, reshaped=1, non_finite=1)
    assert (window.errors, window.samples) == (7, 0)


def test_a_version_without_these_tells_only_over_what_edges_it_has_counted() -> None:
    served = served_by(tiny.tiny_manifest())
    window = window_of(served, [samples(3)])
    assert (window.embedding, window.slices, window.misfits, window.left_out) == (None, None, None, None)
    assert window.edges == BaselineEdges.of(served.manifest.baseline).features.sha256[:16]


def test_outputs_that_are_text_or_of_no_sample_are_not_embedded() -> None:
    served = served_by(watched_manifest())
    monitor = Monitor(Clock())
    text = {"x": np.array([b"a"], dtype=object)}
    monitor.observe(served, text, {"probabilities": tiny.probabilities(samples(1))}, 1.0, "a-1")
    [window] = monitor.take_windows(Clock().advance(100), NOW_ALL)
    assert window.embedding is not None
    assert window.embedding.samples == 0


def test_all_of_it_becomes_a_message_of_the_contract() -> None:
    window = replace(window_of(served_by(watched_manifest()), [samples(9)]), left_out={"slices": "too many"})
    message = window.to_message(OutboxPosition(stream="0" * 16, sequence=1, oldest=1))
    assert type(message).model_validate_json(message.to_bytes()) == message
    assert message.started_at == START


@pytest.mark.parametrize("samples_each", [1, 64, 65])
def test_samples_of_a_model_without_classes_count_in_slices_without_labels(samples_each: int) -> None:
    manifest = watched_manifest()
    edges = BaselineEdges.of(manifest.baseline)
    parts = WindowParts(PartsPlan.of(manifest.baseline, edges.features, edges.confidence))
    nothing, x = np.empty(0, dtype=np.float32), samples(samples_each)
    parts.add(x, nothing.astype(np.int64), nothing, x[:0])
    parts.add(x, np.zeros(len(x), dtype=np.int64), np.ones(len(x), dtype=np.float32), x[:0])
    finished = parts.finish(window_of(served_by(manifest), [x]))
    assert finished.slices is not None
    low = finished.slices[0]
    assert (low.samples, sum(low.predictions)) == (2 * int((x[:, 0] <= 0).sum()), int((x[:, 0] <= 0).sum()))


@pytest.mark.parametrize("output", [None, "probabilities"])
def test_single_samples_count_in_parts_as_a_batch_does(monkeypatch: pytest.MonkeyPatch, output: str | None) -> None:
    """All but the first are usual requests, which take a way of their own."""
    served, x = served_by(watched_manifest(output)), samples(70)
    usual = []
    count = UsualRequest.count

    def seen(*given: Any) -> bool:
        usual.append(count(*given))
        return usual[-1]

    monkeypatch.setattr(UsualRequest, "count", seen)
    scores = tiny.probabilities(x)  # once for both: a product of one row may be rounded otherwise

    def window_in(step: int) -> FinishedWindow:
        monitor = Monitor(Clock())
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            monitor.observe(served, {"x": x[part]}, {"probabilities": scores[part]}, 1.0, f"a-{start}")
        [window] = monitor.take_windows(Clock().advance(100), NOW_ALL)
        return window

    one_by_one = window_in(1)
    assert usual == [True] * 69
    assert one_by_one.slices == window_in(len(x)).slices
    assert one_by_one.embedding == told(Embedding(7, SCALE).sums(x if output is None else scores))


def test_parts_are_not_touched_by_samples_where_the_baseline_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(WindowParts, "observe", refuse)
    monkeypatch.setattr(WindowParts, "add", refuse)
    assert window_of(served_by(tiny.tiny_manifest()), [samples(1), samples(1), samples(5)]).samples == 7
