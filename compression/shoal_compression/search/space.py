"""The space of recipes: every technique alone, and pipelines that shrink, then quantize, with parameters to choose.

A technique's kind is the folder that it lies in under `techniques/`; new ones join the space by themselves, with the
parameters that `CHOICES` names, otherwise with their defaults.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from shoal_compression.model import RUNTIMES, Form
from shoal_compression.recipe import Recipe, RecipeData, Tolerance
from shoal_compression.technique import Technique
from shoal_compression.techniques import ALL, name_of
from shoal_compression.values import Value, content_hash

Choice = str | int | float | bool
STAGES: Final[tuple[tuple[str, ...], ...]] = (
    ("prune", "factorise"),
    ("cluster",),
    ("distil",),
    ("trees",),
    ("convert",),
    ("prepare",),
    ("quantize",),
)
"""Kinds in the order in which they follow each other in a pipeline; one of each stage at most."""
KINDS: Final[Mapping[str, str]] = {"equalise": "prepare"}
"""Of techniques that go before others of their folder."""
_CALIBRATIONS: Final = ("min-max", "mse", "entropy", "percentile")
CHOICES: Final[Mapping[str, Mapping[str, tuple[Choice, ...]]]] = {
    "cluster-weights": {"clusters": (16, 64)},
    "factorise": {"energy": (0.9, 0.97)},
    "int4-weights": {"block": (32, 128)},
    "int8-static": {"calibration": _CALIBRATIONS},
    "keras-prune-magnitude": {"sparsity": (0.8, 0.5)},
    "litert-int8": {"activation_bits": (8, 16)},
    "litert-weights": {"weights": ("int8", "int4", "float16")},
    "mixed": {"calibration": _CALIBRATIONS},
    "prune-channels": {"ratio": (0.5, 0.25, 0.75)},
    "prune-magnitude": {"sparsity": (0.8, 0.5)},
}
"""What the search may set, by technique and field; the first is its default."""
NONE: Final = "none"
MAX_NAME: Final = 63


class Trial(Protocol):
    """What the space asks to choose; Optuna's trials are such."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # noqa: ANN401 - one of the choices
        """Return one of the choices, the same for the same name within a trial."""


class Frame(Value):
    """What all recipes of a search have in common, so that they can be compared."""

    data: RecipeData
    tolerance: Tolerance
    budget_minutes: float
    seed: int

    def around(self, name: str, steps: Sequence[Technique], description: str = "") -> Recipe:
        """Return a recipe of these steps."""
        return Recipe(name=name, description=description, steps=tuple(steps), **dict(self))

    def again(self, recipe: Recipe) -> Recipe:
        """Return another recipe with what this search's have in common."""
        return recipe.model_copy(update=dict(self))


def kind_of(technique: type[Technique]) -> str:
    """Return the folder that a technique lies in: `quantize`, `prune`, …; `quantize` of one that lies in none."""
    if name_of(technique) in KINDS:
        return KINDS[name_of(technique)]
    parts = technique.__module__.partition(".techniques.")[2].split(".")
    return parts[0] if len(parts) > 1 else "quantize"


def ways_to(start: Form, *, has_train: bool) -> dict[str, tuple[type[Technique], ...]]:
    """Return the techniques that a model of this form can go through, by stage's first kind."""
    known = [one for one in ALL if has_train or not one.needs_train]
    reachable = {start} | {one.gives for one in known if one.gives is not None and start in one.takes}
    return {
        stage[0]: tuple(one for one in known if kind_of(one) in stage and one.takes & reachable) for stage in STAGES
    }


def space_hash(forms: Sequence[Form], *, has_train: bool) -> str:
    """Return a hash of all that can be chosen: a study begun in another space can not be continued."""
    ways = {
        form: {stage: [name_of(one) for one in known] for stage, known in ways_to(form, has_train=has_train).items()}
        for form in forms
    }
    return content_hash([list(forms), ways, {name: dict(fields) for name, fields in CHOICES.items()}])


def single_choices(forms: Sequence[Form], *, has_train: bool) -> Iterator[dict[str, Choice]]:
    """Yield what a trial has to choose for each technique alone, with its defaults.

    Of several forms that a technique takes, the first of `forms` counts. One that devices can not load afterwards, and
    that nothing converts, is left out.
    """
    for technique in ALL:
        for form in (one for one in forms if one in technique.takes):
            stages = [stage for stage, known in ways_to(form, has_train=has_train).items() if technique in known]
            if stages and _to_a_device(form, [technique()]) is not None:
                yield {"form": form, f"{form}/{stages[0]}": name_of(technique)}
                break


class Chosen:
    """A trial whose choices are known; of what they do not name, the first is taken."""

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        self._choices = choices
        self.asked: dict[str, Choice] = {}
        """All that was asked, with what was answered."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # noqa: ANN401 - one of the choices
        """Return the choice of this name."""
        self.asked[name] = self._choices.get(name, choices[0])
        return self.asked[name]


def suggest(trial: Trial, forms: Sequence[Form], frame: Frame, *, has_train: bool) -> Recipe | None:
    """Return the recipe that a trial chooses; None: its steps do not fit each other, or there is none."""
    form: Form = trial.suggest_categorical("form", list(forms))
    steps: list[Technique] = []
    now: Form = form
    for stage, techniques in ways_to(form, has_train=has_train).items():
        if not techniques:
            continue
        chosen = trial.suggest_categorical(f"{form}/{stage}", [NONE, *map(name_of, techniques)])
        technique = next((one for one in techniques if name_of(one) == chosen), None)
        if technique is None or now not in technique.takes:
            continue
        steps.append(_with_choices(trial, form, technique))
        now = technique.gives or now
    whole = _to_a_device(form, steps) if steps else None
    return None if whole is None else frame.around(pipeline_name(whole), whole)


def pipeline_name(steps: Sequence[Technique]) -> str:
    """Return a name that tells the steps; where not all have their defaults, with a few signs of their hash."""
    joined = "-".join(step.name for step in steps)
    if all(step == type(step)() for step in steps) and len(joined) <= MAX_NAME:
        return joined
    told = content_hash([step.model_dump(mode="json") for step in steps])[:6]
    return f"{joined[:50].rstrip('-')}.{told}"


def _with_choices(trial: Trial, form: Form, technique: type[Technique]) -> Technique:
    name = name_of(technique)
    fields = {
        field: trial.suggest_categorical(f"{form}/{name}.{field}", list(choices))
        for field, choices in CHOICES.get(name, {}).items()
    }
    return technique.model_validate(nested(fields))


def nested(fields: Mapping[str, Choice]) -> dict[str, Any]:
    """Return fields whose names have a dot, such as `training.epochs`, as mappings within mappings."""
    whole: dict[str, Any] = {}
    for name, value in fields.items():
        *outer, last = name.split(".")
        within = whole
        for part in outer:
            within = within.setdefault(part, {})
        within[last] = value
    return whole


def _to_a_device(form: Form, steps: list[Technique]) -> list[Technique] | None:
    """Return the steps, with a conversion behind them where no device loads what they make; None: nothing converts."""
    now: Form = form
    for step in steps:
        if now not in step.takes:
            return None
        now = step.gives or now
    if now in RUNTIMES:
        return steps
    converters = [one for one in ALL if kind_of(one) == "convert" and now in one.takes and one.gives in RUNTIMES]
    return [*steps, converters[0]()] if converters else None
