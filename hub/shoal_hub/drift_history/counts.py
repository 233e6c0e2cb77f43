"""Exact sums of windows, and their form in the database. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal_contract.embedding import EmbeddingSums
from shoal_hub.drift_history.watched import Watched
from shoal_numerics import Histogram, merge_sums, pack_counts, unpack_counts

_LEVEL: Final = 3
"""Of zstd: a third of the time of what devices take, for a tenth more bytes."""


@dataclass(frozen=True, eq=False)
class Totals:
    """What some windows of one version come to; two of them merge by adding all.

    Attributes:
        counts: Bins of all features, missing values, predictions, confidence and latency, see `Watched.parts`; int64.
        embedding: None: of no sample.
    """

    windows: int
    requests: int
    samples: int
    errors: int
    labelled: int
    correct: int
    counts: NDArray[np.int64]
    embedding: EmbeddingSums | None = None

    def __add__(self, other: "Totals") -> "Totals":
        """Return the sum: exact, commutative and associative."""
        return Totals(
            self.windows + other.windows,
            self.requests + other.requests,
            self.samples + other.samples,
            self.errors + other.errors,
            self.labelled + other.labelled,
            self.correct + other.correct,
            self.counts + other.counts,
            _both(self.embedding, other.embedding),
        )

    def histogram(self, watched: Watched) -> Histogram:
        """Return the features' histogram."""
        bins, missing, *_ = watched.parts.tolist()
        return Histogram(watched.reference.edges, self.counts[:bins], self.counts[bins:missing])

    def answers(self, watched: Watched) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the counts of predicted labels, confidence and latency."""
        _, start, labels, confidence, _ = watched.parts.tolist()
        return self.counts[start:labels], self.counts[labels:confidence], self.counts[confidence:]

    def row(self) -> dict[str, Any]:
        """Return the columns of a period."""
        embedding = self.embedding.model_dump(mode="json") if self.embedding is not None else None
        return {name: getattr(self, name) for name in NUMBERS} | {
            "counts": pack_counts(self.counts, _LEVEL),
            "embedding": embedding,
        }


NUMBERS: Final = ("windows", "requests", "samples", "errors", "labelled", "correct")


class Stored(Protocol):
    """A row with the columns of a period."""

    windows: int
    requests: int
    samples: int
    errors: int
    labelled: int
    correct: int
    counts: bytes
    embedding: dict[str, Any] | None


def totals_of_row(row: Stored, watched: Watched) -> Totals:
    """Return what a period's row holds."""
    counts = unpack_counts(row.counts, int(watched.parts[-1]))
    numbers = (row.windows, row.requests, row.samples, row.errors, row.labelled, row.correct)
    return _totals(numbers, counts, _sums_of(row.embedding))


def totals_of_window(row: Any, watched: Watched) -> Totals:  # noqa: ANN401 - a row of some columns of windows
    """Return what one stored window counts.

    Raises:
        NumericsError: Its counts are not of this baseline, which was checked before it was stored.
        ValueError: Likewise.
    """
    edges = watched.reference.edges
    features, bins = edges.padded_shape
    sketched = Histogram.from_padded(
        edges, unpack_counts(row.features, features * bins), unpack_counts(row.missing, features)
    )
    ends = watched.parts.tolist()
    parts = (sketched.counts, sketched.missing, row.predictions, row.confidence, row.latency)
    counts = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    if len(counts) != ends[-1]:
        raise ValueError(f"merging a window: {len(counts)} counts found, expected {ends[-1]}")
    sketched_rows = row.samples - row.unsketched  # which the counts tell of
    numbers = (1, row.requests, sketched_rows, row.errors, row.labelled, row.correct)
    return _totals(numbers, counts, _sums_of(row.embedding))


def sum_of(totals: Iterable[Totals]) -> Totals | None:
    """Return the sum; None of nothing."""
    found = list(totals)
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    # One sum over all counts, where adding one to another would copy each time.
    counts: NDArray[np.int64] = np.stack([one.counts for one in found]).sum(axis=0)
    numbers = [sum(getattr(one, name) for one in found) for name in NUMBERS]
    embedding = reduce(_both, (one.embedding for one in found))
    return _totals(numbers, counts, embedding)


def nothing(watched: Watched) -> Totals:
    """Return the totals of no window."""
    return Totals(0, 0, 0, 0, 0, 0, np.zeros(int(watched.parts[-1]), dtype=np.int64))


def _totals(numbers: Sequence[int], counts: NDArray[np.int64], embedding: EmbeddingSums | None) -> Totals:
    windows, requests, samples, errors, labelled, correct = numbers
    return Totals(windows, requests, samples, errors, labelled, correct, counts, embedding)


def _sums_of(embedding: Mapping[str, Any] | None) -> EmbeddingSums | None:
    if embedding is None or not embedding["samples"]:
        return None
    return EmbeddingSums.model_validate({name: embedding[name] for name in ("samples", "sums", "squares")})


def _both(first: EmbeddingSums | None, second: EmbeddingSums | None) -> EmbeddingSums | None:
    if first is None or second is None:
        return first or second
    return merge_sums(first, second)
