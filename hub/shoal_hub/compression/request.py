"""What an operator asks of a compression run, and the recipes that it names."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shoal_compression.errors import RecipeError
from shoal_compression.recipe import Recipe, make_recipe
from shoal_compression.recipe_files import MAX_BYTES, builtin_recipes, read_recipe
from shoal_compression.search.candidates import SOURCE, Constraints, Objective
from shoal_contract.benchmarks import MAX_CANDIDATES
from shoal_contract.ids import Name
from shoal_hub.requests import Line

MAX_RECIPES = MAX_CANDIDATES - 1
"""Beside the source."""
USUAL_PATIENCE_S = 3600.0
_BESIDE = 1.25
"""What all of a candidate takes of the time of its process."""


RecipeText = Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]


class CompressionRequest(BaseModel):
    """A run of recipes, or a search over them."""

    model_config = ConfigDict(frozen=True)

    model: Name
    version: Line = "latest"
    kind: Literal["run", "search"] = "run"
    recipes: Annotated[tuple[RecipeText | dict[str, Any], ...], Field(max_length=MAX_RECIPES)] = ()
    """Names of built-in ones, or recipes themselves, as text of YAML or JSON too; of a search what is tried first."""
    targets: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    """Target classes, as `pi4`; empty: all of the fleet."""
    max_latency_ms: Annotated[float, Field(gt=0, le=1e7)] | None = None
    max_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    max_size_bytes: Annotated[int, Field(ge=1, le=2**40)] | None = None
    max_memory_bytes: Annotated[int, Field(ge=1, le=2**50)] | None = None
    prefer: Objective = "latency"
    devices_per_class: Annotated[int, Field(ge=0, le=16)] = 1
    """Devices of each board or processor that measure; 0: none does, latency is predicted or the hub's machine's."""
    patience_s: Annotated[float, Field(ge=10, le=7 * 86_400)] | None = None
    """How long a device has, before another one of its class is asked, and how long a class that is away is waited for.

    None: an hour, or as long as all candidates may take.
    """
    max_load: Annotated[float, Field(ge=0, le=64)] | None = 0.1
    """Share of its time that a device may spend on requests while it measures; None: it does not look."""
    samples: Annotated[int, Field(ge=1, le=10_000)] = 512
    """Held-out ones that devices get."""
    budget_minutes: Annotated[float, Field(gt=0, le=10_080)] = 20.0
    """Of a search."""

    @field_validator("recipes")
    @classmethod
    def _check(cls, recipes: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [read_recipe_of(one).name for one in recipes]
        if len(set(names)) != len(names) or SOURCE in names:
            raise ValueError(f"recipes are called {', '.join(names)}; give each a name of its own, other than {SOURCE}")
        return recipes

    @property
    def read_recipes(self) -> tuple[Recipe, ...]:
        """Return the recipes."""
        return tuple(read_recipe_of(one) for one in self.recipes)

    def patience_for_s(self, candidates: int, max_seconds: float) -> float:
        """Return how long a device has for so many candidates, of which each may take so long."""
        longest_s = longest_of_s(candidates, max_seconds)
        return max(USUAL_PATIENCE_S, longest_s) if self.patience_s is None else self.patience_s

    @property
    def constraints(self) -> Constraints:
        """Return what a choice has to keep."""
        return Constraints(
            max_latency_ms=self.max_latency_ms,
            max_drop=self.max_drop,
            max_size_bytes=self.max_size_bytes,
            max_memory_bytes=self.max_memory_bytes,
        )


def longest_of_s(candidates: int, max_seconds: float) -> float:
    """Return how long a device may be at work on so many candidates: on each of them, its transfer and its profile."""
    return candidates * max_seconds * _BESIDE


def read_recipe_of(given: str | dict[str, Any]) -> Recipe:
    """Return a recipe by its name, from its text, or as it stands.

    Raises:
        ValueError: There is none of this name, or it is no recipe.
    """
    known = builtin_recipes()
    if isinstance(given, str) and given in known:
        return known[given]
    if isinstance(given, str) and "\n" not in given and not given.startswith("{"):
        raise ValueError(f"no built-in recipe {given[:64]!r}; there are {', '.join(sorted(known))}")
    try:
        return read_recipe(given) if isinstance(given, str) else make_recipe(given)
    except RecipeError as error:
        raise ValueError(str(error)) from error
