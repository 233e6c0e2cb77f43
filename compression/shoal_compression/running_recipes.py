"""Runs recipes: steps in turn, each kept as soon as it is finished, verified and measured at the end.

A folder holds `steps/KEY/` and `results/KEY/`. The key of a step hashes the source, the data, the seed, the budget,
the versions of the tools and all steps up to it, so that recipes that begin alike share their beginning, a run that was
killed goes on after its last finished step, and the same recipe on the same inputs is found and not run again. A folder
is made under another name and renamed: what is there is whole.
"""

from dataclasses import dataclass
from pathlib import Path

from shoal_compression.budget import Accelerator
from shoal_compression.data import Data
from shoal_compression.lineage import Lineage
from shoal_compression.measures import Measures
from shoal_compression.model import Model
from shoal_compression.recipe import Recipe
from shoal_compression.technique import Progress, silent
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
    """A recipe that was run to its end: its file, and what is known of it. It may be outside of its tolerance."""

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

    def accepted(self) -> "RecipeResult":
        """Return this result where it is within its tolerance.

        Raises:
            ToleranceError: It is not; the broken bounds and the layers to blame are named.
        """
        raise NotImplementedError


def run_recipe(
    recipe: Recipe,
    model: Model,
    data: Data,
    folder: Path,
    *,
    reference: Model | None = None,
    threads: int = 1,
    accelerator: Accelerator = "cpu",
    progress: Progress = silent,
) -> RecipeResult:
    """Run a recipe, or find its result.

    Args:
        recipe: What to do.
        model: The float model; `Original.start` chooses it.
        data: Samples; how many of them are used is the recipe's.
        folder: Made if missing; may be shared by any recipes of any models.
        reference: What the variant is compared with, where that is another form of the same network than `model`, such
            as ONNX beside Keras.
        threads: For steps; latency is always of one.
        accelerator: For steps that train.
        progress: Told of each step with its place among all.

    Raises:
        CompressionError: A step can not be done; steps before it are kept.
    """
    raise NotImplementedError
