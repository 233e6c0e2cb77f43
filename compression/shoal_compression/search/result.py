"""What a search is asked, and what it has found."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from pydantic import Field, ValidationError

from shoal_compression.budget import Accelerator
from shoal_compression.errors import SearchError
from shoal_compression.output_folder import says_unwritable
from shoal_compression.recipe import Recipe, RecipeData, Tolerance
from shoal_compression.recipe_result import RecipeResult
from shoal_compression.search.candidates import Candidate, Constraints, Objective, choose, pareto_front
from shoal_compression.search.space import Frame
from shoal_compression.values import Record

REPORT_FILE: Final = "search.json"


@dataclass(frozen=True)
class SearchSettings:
    """What a search does."""

    objectives: tuple[Objective, ...] = ("size", "latency", "accuracy")
    budget_minutes: float = 20.0
    """Of all runs that have continued it together."""
    recipe_minutes: float = 5.0
    """The most that one recipe may take."""
    max_trials: int = 100
    """The most recipes that are tried."""
    tolerance: Tolerance = field(default_factory=Tolerance)
    """What every candidate has to keep."""
    data: RecipeData = field(default_factory=RecipeData)
    """What every recipe uses of the data."""
    seed: int = 0
    threads: int = 1
    accelerator: Accelerator = "cpu"
    recipes: tuple[Recipe, ...] = ()
    """Tried first, beside the built-in ones that fit and every single technique."""

    @property
    def frame(self) -> Frame:
        """What all recipes have in common."""
        return Frame(data=self.data, tolerance=self.tolerance, budget_minutes=self.recipe_minutes, seed=self.seed)


class SearchReport(Record):
    """What `search.json` holds."""

    name: str
    """Of the original."""
    source_sha256: str
    data_fingerprint: str
    objectives: tuple[Objective, ...]
    frame: Frame
    space_sha256: str
    """Of all that could be chosen; another release of this package may have other techniques."""
    source: Candidate
    candidates: tuple[Candidate, ...] = ()
    """All within the tolerance, the source among them where devices load it."""
    results: dict[str, str] = Field(default_factory=dict)
    """The folder of each candidate's result, inside of this one, by the recipe's hash."""
    refused: dict[str, str] = Field(default_factory=dict)
    """Why, by recipe: it could not be made, was stopped early, or was outside of the tolerance."""
    trials: int = 0
    seconds: float = 0.0
    is_exhausted: bool = False
    """Whether the last trials have chosen nothing new."""
    is_complete: bool = False
    """The same, or as many trials as were asked for."""

    @property
    def fronts(self) -> dict[str, tuple[Candidate, ...]]:
        """The front of each target."""
        targets = sorted({one.target for one in self.candidates})
        return {
            target: pareto_front([one for one in self.candidates if one.target == target], self.objectives)
            for target in targets
        }

    def choose(self, constraints: Constraints, prefer: Objective = "latency", target: str | None = None) -> Candidate:
        """Return the best candidate that keeps the constraints, for one target or for any.

        Raises:
            SearchError: None does, or the target is not known.
        """
        if target is not None and target not in self.fronts:
            known = ", ".join(self.fronts)
            raise SearchError(f"choosing a candidate for {target}: no such target; known are {known}")
        return choose([one for one in self.candidates if target in {None, one.target}], constraints, prefer)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the report in a folder.

        Raises:
            SearchError: There is none.
        """
        path = folder / REPORT_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SearchError(f"reading a search: {error}; name the folder that a search has written") from error
        except ValidationError as error:
            raise SearchError(f"reading {path}: it is no report of a search; search again in a new folder") from error

    def write(self, folder: Path) -> None:
        """Write it, so that there is always the whole of one.

        Raises:
            OutputError: The folder can not be written, or the disk is full.
        """
        new = folder / f".{REPORT_FILE}.new"
        with says_unwritable(folder):
            new.write_text(json.dumps(self.model_dump(mode="json"), indent=2) + "\n")
            new.replace(folder / REPORT_FILE)


@dataclass(frozen=True)
class SearchResult:
    """What a search has found so far."""

    folder: Path
    """Holds `study.journal`, `search.json`, `front.png`, `front.svg`, and `recipes/` with the results."""
    report: SearchReport
    results: tuple[RecipeResult, ...]
    """Of all recipes that were run to their end and are within the tolerance."""

    @property
    def source(self) -> Candidate:
        """The float original."""
        return self.report.source

    @property
    def fronts(self) -> dict[str, tuple[Candidate, ...]]:
        """The front of each target."""
        return self.report.fronts

    def choose(self, constraints: Constraints, prefer: Objective = "latency", target: str | None = None) -> Candidate:
        """Return the best candidate that keeps the constraints, for one target or for any.

        Raises:
            SearchError: None does, or the target is not known.
        """
        return self.report.choose(constraints, prefer, target)

    def result_of(self, candidate: Candidate) -> RecipeResult:
        """Return the result that a candidate stands for.

        Raises:
            SearchError: It is the source, or of another search.
        """
        for result in self.results:
            if result.recipe.sha256 == candidate.recipe_sha256:
                return result
        raise SearchError(f"finding the file of {candidate.name}: it is the source itself, or of another search")
