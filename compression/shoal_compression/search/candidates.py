"""Candidates, and the front of those that no other beats in everything. Pure: the figures may come from anywhere.

A hub that has measured candidates on devices gives their figures here in place of this machine's.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

from shoal_compression.errors import SearchError
from shoal_compression.measures import Measures
from shoal_compression.values import Record

Objective = Literal["size", "latency", "memory", "energy", "accuracy"]
OBJECTIVES: Final[tuple[Objective, ...]] = ("size", "latency", "memory", "energy", "accuracy")
SOURCE: Final = "source"
"""The name of the float original among candidates."""
_MOST_NAMED: Final = 3


class Candidate(Record):
    """A file that could be chosen, and what is known of it."""

    name: str
    """Of its recipe; `source` for the float original."""
    recipe_sha256: str
    target: str
    measures: Measures
    drop_points: float | None = None
    """Percentage points of accuracy (without labels: of agreement) below the source."""

    def cost(self, objective: Objective) -> float:
        """Return what counts against it, the less the better; what was not measured counts as infinite."""
        found = {
            "size": self.measures.size_bytes,
            "latency": self.measures.latency_p50_ms,
            "memory": self.measures.memory_bytes,
            "energy": self.measures.energy_mj,
            "accuracy": self.drop_points,
        }[objective]
        return math.inf if found is None else float(found)


def dominates(one: Candidate, other: Candidate, objectives: Sequence[Objective]) -> bool:
    """Whether one is at least as good as another in each objective, and better in one."""
    pairs = [(one.cost(objective), other.cost(objective)) for objective in objectives]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def pareto_front(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> tuple[Candidate, ...]:
    """Return the candidates that none dominates, in their order; of those with equal figures the first is kept."""
    front = []
    seen = set()
    for candidate in candidates:
        figures = tuple(candidate.cost(objective) for objective in objectives)
        if figures in seen or any(dominates(other, candidate, objectives) for other in candidates):
            continue
        seen.add(figures)
        front.append(candidate)
    return tuple(front)


class Constraints(Record):
    """What a choice has to keep. None: anything."""

    max_latency_ms: float | None = None
    """Of the median."""
    max_drop: float | None = None
    """In percentage points."""
    max_size_bytes: int | None = None
    max_memory_bytes: int | None = None
    max_energy_mj: float | None = None

    def bounds(self) -> dict[Objective, float]:
        """Return the bound of each objective that has one."""
        found: dict[Objective, float | None] = {
            "latency": self.max_latency_ms,
            "accuracy": self.max_drop,
            "size": self.max_size_bytes,
            "memory": self.max_memory_bytes,
            "energy": self.max_energy_mj,
        }
        return {objective: bound for objective, bound in found.items() if bound is not None}


def choose(candidates: Sequence[Candidate], constraints: Constraints, prefer: Objective = "latency") -> Candidate:
    """Return the best candidate by `prefer` among those that keep the constraints.

    Raises:
        SearchError: None does; it names the nearest ones and by how much they miss.
    """
    bounds = constraints.bounds()
    fitting = [one for one in candidates if all(one.cost(name) <= bound for name, bound in bounds.items())]
    if fitting:
        order = (prefer, *(one for one in OBJECTIVES if one != prefer))
        return min(fitting, key=lambda one: (*(one.cost(objective) for objective in order), one.name))
    nearest = sorted(candidates, key=lambda one: sum(_missed(one, name, bound) for name, bound in bounds.items()))
    asked = ", ".join(_said(name, bound) for name, bound in bounds.items())
    found = "; ".join(_figures(one, bounds) for one in nearest[:_MOST_NAMED]) or "there is no candidate"
    advice = "allow one of these figures, or search for longer"
    raise SearchError(
        f"choosing a candidate with at most {asked}: none of {len(candidates)}. Nearest: {found}; {advice}"
    )


def _missed(candidate: Candidate, objective: Objective, bound: float) -> float:
    """Return by which part of a bound a candidate misses it."""
    return max(0.0, candidate.cost(objective) - bound) / max(abs(bound), 1e-9)


def _figures(candidate: Candidate, bounds: dict[Objective, float]) -> str:
    said = [_said(name, candidate.cost(name)) for name in bounds]
    return f"{candidate.name} for {candidate.target} with {', '.join(said)}"


def _said(objective: Objective, value: float) -> str:
    if math.isinf(value):
        return f"{objective} not measured"
    return {
        "size": f"{value / 1000:,.1f} KB",
        "latency": f"{value:.3g} ms",
        "memory": f"{value / 1e6:.3g} MB of memory",
        "energy": f"{value:.3g} mJ",
        "accuracy": f"{value:.2f} points lost",
    }[objective]
