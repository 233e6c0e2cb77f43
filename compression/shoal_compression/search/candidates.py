"""Candidates, and the front of those that no other beats in everything. Pure: the figures may come from anywhere.

A hub that has measured candidates on devices gives their figures here in place of this machine's.
"""

from collections.abc import Sequence
from typing import Literal

from shoal_compression.measures import Measures
from shoal_compression.values import Record

Objective = Literal["size", "latency", "memory", "energy", "accuracy"]
OBJECTIVES: tuple[Objective, ...] = ("size", "latency", "memory", "energy", "accuracy")


class Candidate(Record):
    """A file that could be chosen, and what is known of it."""

    name: str
    """Of its recipe; `source` for the float original."""
    recipe_sha256: str
    target: str
    measures: Measures
    drop_points: float | None = None
    """Percentage points of accuracy (without labels: of agreement) below the source."""


def pareto_front(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> tuple[Candidate, ...]:
    """Return the candidates that none dominates, in their order; what one lacks is not compared between two.

    One dominates another where it is at least as good in each objective that was measured of any, and better in one.
    Of candidates with the same figures the first is kept.
    """
    raise NotImplementedError


class Constraints(Record):
    """What a choice has to keep. None: anything."""

    max_latency_ms: float | None = None
    """Of the median."""
    max_drop: float | None = None
    """In percentage points."""
    max_size_bytes: int | None = None
    max_memory_bytes: int | None = None
    max_energy_mj: float | None = None


def choose(candidates: Sequence[Candidate], constraints: Constraints, prefer: Objective = "latency") -> Candidate:
    """Return the best candidate by `prefer` among those that keep the constraints.

    Raises:
        SearchError: None does; it names the nearest ones and by how much they miss.
    """
    raise NotImplementedError
