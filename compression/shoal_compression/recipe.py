"""What a recipe is: techniques in turn, with data, time and seed, and what their result must keep.

A recipe is data. It comes from a YAML or JSON file (`recipe_files`), is run by `running_recipes`, and is known by the
hash of what decides its result.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from shoal_compression.errors import RecipeError
from shoal_compression.model import Form
from shoal_compression.recipe_errors import first_of, nearest
from shoal_compression.technique import Technique
from shoal_compression.techniques import BY_NAME
from shoal_compression.values import Value, content_hash
from shoal_contract.ids import Name

MAX_STEPS = 16
USUAL_DROP = 1.0
"""Points of accuracy that a variant may lose unless it is said otherwise."""


def _technique(value: object) -> object:
    """Return the technique that a mapping, or a name alone, describes."""
    if isinstance(value, Technique):
        return value
    fields = {"technique": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or "technique" not in fields:
        found = f"{str(value)[:80]!r} found, expected a technique's name, or a mapping with `technique`"
        raise ValueError(f"{found}; {nearest('', BY_NAME)}")
    kind = BY_NAME.get(str(fields["technique"]))
    if kind is None:
        raise ValueError(
            f"no technique is called {fields['technique']!r}; {nearest(str(fields['technique']), BY_NAME)}"
        )
    return kind.model_validate(fields)


AnyTechnique = Annotated[SerializeAsAny[Technique], BeforeValidator(_technique)]
"""A technique with its parameters; in a file a mapping whose `technique` names it, or the name alone."""


class RecipeData(Value):
    """How many samples each step and the verification may use. None: all that there are."""

    calibration_samples: int | None = Field(default=256, ge=1)
    """Drawn by the recipe's seed."""
    train_samples: int | None = Field(default=None, ge=1)
    """As above."""
    test_samples: int | None = Field(default=None, ge=1)
    """The first of them, so that recipes are compared on the same ones."""


class Tolerance(Value):
    """What a variant may lose against the source on the held-out samples. None: not looked at."""

    max_drop_points: float | None = Field(default=USUAL_DROP, ge=0, le=100)
    """Of accuracy, in percentage points; counts where the samples have classes as labels."""
    max_slice_drop_points: float | None = Field(default=None, ge=0, le=100)
    """The same of the worst slice with at least `verify.MIN_SLICE_ROWS` samples."""
    min_agreement: float | None = Field(default=0.98, ge=0, le=1)
    """Share of samples with the source's class; counts without labels, where answers are classes."""
    min_sqnr_db: float | None = Field(default=None, ge=-200, le=200)
    """Of the outputs, -200 to 200. Left out, it is 20 where labels, or answers without labels, are no classes."""


class Recipe(Value):
    """Steps in turn, what they get, and what their result must keep."""

    name: Name
    description: str = ""
    steps: tuple[AnyTechnique, ...] = Field(min_length=1, max_length=MAX_STEPS)
    data: RecipeData = RecipeData()
    budget_minutes: float = Field(default=30.0, gt=0, le=10_080)
    """For all steps; what trains stops in time."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    targets: tuple[Name, ...] = ()
    """Device classes that the result is for; empty: all whose runtime loads its form."""
    tolerance: Tolerance = Tolerance()

    @model_validator(mode="after")
    def _steps_fit_each_other(self) -> Self:
        """See that each step takes what the one before it gives."""
        forms = self.steps[0].takes
        for place, step in enumerate(self.steps):
            left = forms & step.takes
            if not left:
                found = f"step {place + 1}, {step.name}, takes {_list(step.takes)}, but gets {_list(forms)}"
                raise ValueError(f"{found}; put a step between them that converts, or leave one out")
            forms = left if step.gives is None else frozenset({step.gives})
        return self

    @property
    def takes(self) -> frozenset[Form]:
        """The forms of model that it begins with."""
        return frozenset(form for form in self.steps[0].takes if _form_after(self.steps, form) is not None)

    @property
    def sha256(self) -> str:
        """Hash of what decides the result and its verdict; name, description and targets do not."""
        return content_hash(self.model_dump(mode="json", exclude={"name", "description", "targets"}))

    def named(self, name: str) -> Self:
        """Return the same recipe by another name."""
        return self.model_copy(update={"name": name})


def make_recipe(fields: Mapping[str, object], *, doing: str = "reading a recipe") -> Recipe:
    """Return the recipe with these fields.

    Raises:
        RecipeError: A field is missing, unknown or of another form; it is named.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        place, reason = first_of(error)
        named = ".".join(str(one + 1) if isinstance(one, int) else one for one in place) or "recipe"
        raise RecipeError(f"{doing}: {named}: {reason}", place) from error


def _form_after(steps: tuple[Technique, ...], form: Form) -> Form | None:
    now = form
    for step in steps:
        if now not in step.takes:
            return None
        now = step.gives or now
    return now


def _list(forms: frozenset[Form]) -> str:
    return " or ".join(sorted(forms))
