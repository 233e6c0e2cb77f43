"""A hub with a version of three colours, and devices that tell what truth came back."""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from sqlmodel import select
from tests.hub.monitoring.test_drift import like_training, sketch, take
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.simulators.rows import add_device

from shoal_contract.manifest import Baseline
from shoal_contract.performance import PerformanceCounts
from shoal_contract.slices import SliceCounts
from shoal_contract.telemetry import Window
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.registry.tables import Version
from shoal_numerics import Histogram, HistogramEdges, pack_counts
from shoal_numerics.label_counts import Beside, LabelCounts, LabelLayout
from shoal_numerics.roc import score_bins

URL = "/api/v1/performance"
SLICES = [{"name": "low", "feature": "features[0]", "high": 0.0}]


class Answers:
    """Random answers to samples like the training data, and the truth.

    Args:
        seed: Of what is drawn.
        samples: How many.
        right: How often they are about right.
        classes: How many there are.
    """

    def __init__(self, seed: int, samples: int = 150, right: float = 0.8, classes: int = 3) -> None:
        draw = np.random.default_rng(seed)
        self.rows = like_training(seed, samples)
        self.truth = draw.integers(0, classes, samples)
        leaning = np.where(draw.random(samples) < right, self.truth, draw.integers(0, classes, samples))
        logits = draw.normal(size=(samples, classes)) + 3 * np.eye(classes)[leaning]
        self.scores: NDArray[np.float32] = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype("f4")
        self.predicted = self.scores.argmax(axis=1)
        self.is_low = self.rows[:, 0] <= 0

    @property
    def correct(self) -> int:
        return int((self.predicted == self.truth).sum())


def packed(counts: LabelCounts) -> PerformanceCounts:
    return PerformanceCounts(counts=base64.b64encode(pack_counts(counts.vector)).decode())


def counts_of(baseline: Baseline, answers: Answers) -> LabelCounts:
    """Return what a device counts of these answers once all of their labels came."""
    layout = LabelLayout.of(baseline)
    edges = HistogramEdges.from_lists([baseline.confidence.edges])
    scored = layout.scored
    bins = np.searchsorted(edges.of_feature(0), answers.scores.max(axis=1), side="right")
    scores = score_bins(answers.scores[:, scored.start : scored.stop])
    beside = Beside(answers.predicted, scores, bins, answers.is_low.astype(np.int64) * (layout.slices > 0))
    found = LabelCounts(layout)
    found.add_labels(answers.truth, answers.predicted)
    found.add_beside(answers.truth, is_right=answers.truth == answers.predicted, beside=beside)
    return found


class Fleet:
    """What the tests of performance act on."""

    def __init__(self, hub: HubContext, client: TestClient, baseline: Baseline) -> None:
        self.hub, self.client, self.baseline = hub, client, baseline
        self.now = utc_now()
        with hub.database.transaction() as session:
            homes = ("north", "south", "south")
            self.ids = [add_device(session, name=f"d{n}", group=home).id for n, home in enumerate(homes)]

    def window(self, answers: Answers, *, at: datetime | None = None, **changes: Any) -> Window:
        """Return the window of these answers, with all labels unless `performance` says otherwise."""
        at = at or self.now
        edges = HistogramEdges.from_lists([self.baseline.confidence.edges])

        def confidence(scores: NDArray[np.float32]) -> tuple[int, ...]:
            return tuple(Histogram.of(edges, scores.max(axis=1)).counts.tolist())

        def predictions(labels: NDArray[np.int64]) -> tuple[int, ...]:
            return tuple(np.bincount(labels, minlength=len(self.baseline.predictions)).tolist())

        low = answers.is_low
        slices = SliceCounts(
            samples=int(low.sum()),
            predictions=predictions(answers.predicted[low]),
            confidence=confidence(answers.scores[low]),
        )
        told: dict[str, Any] = {
            "started_at": at - timedelta(minutes=1),
            "ended_at": at,
            "predictions": predictions(answers.predicted),
            "confidence": confidence(answers.scores),
            "slices": (slices,) if self.baseline.slices else None,
            "latency": (0, 0, 0, len(answers.rows), *[0] * 10),
            "labelled": len(answers.truth),
            "correct": answers.correct,
        }
        if not self.baseline.predictions:
            nothing = (0,) * len(self.baseline.confidence.counts)
            told |= {"predictions": (), "confidence": nothing, "slices": None}
        if "performance" not in changes:
            told["performance"] = packed(counts_of(self.baseline, answers))
        return sketch(self.baseline, answers.rows, **(told | changes))

    def tell(self, device: int, answers: Answers, **changes: Any) -> None:
        take(self.hub, self.ids[device], self.window(answers, **changes), self.now)

    def unlabelled(self, device: int, answers: Answers, **changes: Any) -> None:
        self.tell(device, answers, **({"labelled": 0, "correct": 0, "performance": None} | changes))

    def read(self, **params: Any) -> dict[str, Any]:
        answer = self.client.get(URL, params={"model": "colours"} | params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def row(self, **params: Any) -> dict[str, Any]:
        [row] = self.read(**params)["rows"]
        found: dict[str, Any] = row
        return found

    def change_baseline(self, **changes: Any) -> None:
        """Have the version another baseline than its bundle's."""
        self.baseline = self.baseline.model_copy(update=changes)
        with self.hub.database.transaction() as session:
            session.exec(select(Version)).one().baseline = self.baseline.model_dump(mode="json")


def _fleet_at(hub: HubContext, client: TestClient, folder: Path) -> Fleet:
    register_bundle(hub, write_bundle(folder, slices=SLICES))
    with hub.database.session() as session:
        baseline = Baseline.model_validate(session.exec(select(Version)).one().baseline)
    return Fleet(hub, client, baseline)


@pytest.fixture
def fleet(hub: HubContext, client: TestClient, tmp_path: Path) -> Fleet:
    """Once on each engine."""
    return _fleet_at(hub, client, tmp_path / "bundle")


@pytest.fixture
def one_fleet(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> Fleet:
    """On one engine, for tests that are not about the store."""
    return _fleet_at(sqlite_hub, sqlite_client, tmp_path / "bundle")


def of_numbers(fleet: Fleet) -> Fleet:
    """Have the version answer numbers instead of labels."""
    none = SliceCounts(samples=0, predictions=(), confidence=(0,) * len(fleet.baseline.confidence.counts))
    slices = tuple(one.model_copy(update={"reference": none}) for one in fleet.baseline.slices or ())
    fleet.change_baseline(predictions=(), slices=slices, calibration=None)
    return fleet
