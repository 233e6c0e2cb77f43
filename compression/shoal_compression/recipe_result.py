"""A recipe that was run to its end: its file, and what is known of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shoal_compression.errors import ToleranceError
from shoal_compression.lineage import Lineage
from shoal_compression.measures import Measures
from shoal_compression.model import Model
from shoal_compression.recipe import Recipe
from shoal_compression.values import Record
from shoal_compression.verdict import Verdict


class RecipeReport(Record):
    """What `report.json` of a result holds."""

    recipe: str
    lineage: Lineage
    verdict: Verdict
    source: Measures
    """Of the reference, measured side by side with the variant."""
    variant: Measures


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe has made. It may be outside of its tolerance."""

    recipe: Recipe
    model: Model
    report: RecipeReport
    folder: Path
    """Holds the model file, `report.json`, `report.md`, `report.html`, `sensitivity.png` and `sensitivity.svg`."""
    was_cached: bool
    """Whether it was found rather than made."""

    @property
    def lineage(self) -> Lineage:
        """Where the file comes from."""
        return self.report.lineage

    @property
    def verdict(self) -> Verdict:
        """How it compares with its source."""
        return self.report.verdict

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / f"model.{self.model.form}"

    def accepted(self) -> Self:
        """Return this result where it is within its tolerance.

        Raises:
            ToleranceError: It is not; the broken bounds and the layers to blame are named.
        """
        if self.verdict.is_within:
            return self
        said = "; ".join(self.verdict.reasons)
        blamed = ", ".join(self.verdict.blamed)
        layers = f"the layers that lose the most are {blamed}" if blamed else self.verdict.layers_note
        advice = "keep these in float, choose a gentler recipe, or widen its tolerance"
        raise ToleranceError(f"accepting the variant of {self.recipe.name}: {said}; {layers}; {advice}")
