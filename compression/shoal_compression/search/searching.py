"""The search itself: Optuna over the space of recipes, within a budget, resumed where it stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shoal_compression.original import Original
from shoal_compression.recipe import Recipe, Tolerance
from shoal_compression.running_recipes import RecipeResult
from shoal_compression.search.candidates import Candidate, Objective
from shoal_compression.technique import Progress, silent


@dataclass(frozen=True)
class SearchSettings:
    """What a search does."""

    objectives: tuple[Objective, ...] = ("size", "latency", "accuracy")
    budget_minutes: float = 20.0
    recipe_minutes: float = 5.0
    """The most that one recipe may take."""
    max_trials: int = 100
    tolerance: Tolerance = field(default_factory=Tolerance)
    """What every candidate has to keep."""
    seed: int = 0
    threads: int = 1
    recipes: Sequence[Recipe] = ()
    """Tried first, beside every single technique that fits; the built-in ones are always among them."""


@dataclass(frozen=True)
class SearchResult:
    """What a search has found so far."""

    folder: Path
    """Holds `study.db`, `search.json`, `front.png`, `front.svg`, and the results of recipes."""
    source: Candidate
    results: tuple[RecipeResult, ...]
    """Of all recipes that were run to their end and are within the tolerance."""
    fronts: dict[str, tuple[Candidate, ...]]
    """By target."""
    refused: dict[str, str]
    """Why, by recipe: it could not be made, or was outside of the tolerance."""
    trials: int
    is_complete: bool
    """Whether the space or `max_trials` was exhausted before the budget."""

    def result_of(self, candidate: Candidate) -> RecipeResult:
        """Return the result that a candidate stands for.

        Raises:
            SearchError: It is the source, or of another search.
        """
        raise NotImplementedError


def search(
    original: Original, folder: Path, settings: SearchSettings | None = None, progress: Progress = silent
) -> SearchResult:
    """Search over recipes; a folder with an earlier search of the same original is continued.

    Raises:
        SearchError: The folder holds a search of another original, or no recipe fits.
        CompressionError: The original can not be run.
    """
    raise NotImplementedError
