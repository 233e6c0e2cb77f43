"""Does the steps of a recipe in turn, and keeps each as soon as it is finished."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from platform import python_version
from typing import Any, Final

from pydantic import ValidationError

from shoal_compression.budget import Accelerator, Budget
from shoal_compression.data import Data
from shoal_compression.lineage import StepRecord
from shoal_compression.measuring import gzip_bytes
from shoal_compression.model import Model
from shoal_compression.recipe import Recipe
from shoal_compression.store import Store
from shoal_compression.technique import Progress, Technique
from shoal_compression.values import Record, content_hash
from shoal_contract import __version__
from shoal_contract.manifest import TensorSpec

STEP_FILE: Final = "step.json"
_MORE_TIME: Final = 1.05
"""Times the seconds it had, from which on a step that was cut is done again: what steps before it leave varies."""


class _Stored(Record):
    """What `step.json` holds."""

    record: StepRecord
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Work:
    """What a recipe is run on."""

    recipe: Recipe
    model: Model
    data: Data
    """What the recipe uses of it."""
    threads: int
    accelerator: Accelerator

    @property
    def tool_versions(self) -> dict[str, str]:
        """All that have a part in the result, by distribution."""
        return tool_versions(self.recipe.steps)

    def key(self, steps: int) -> str:
        """Return the key of what the first steps make: equal inputs give equal keys, in every process."""
        recipe = self.recipe.model_dump(mode="json", include={"steps", "data", "budget_minutes", "seed"})
        recipe["steps"] = recipe["steps"][:steps]
        return content_hash(
            {
                "recipe": recipe,
                "source": self.model.sha256,
                "called": [spec.model_dump(mode="json") for spec in (*self.model.inputs, *self.model.outputs)],
                "data": self.data.fingerprint,
                "tools": tool_versions(self.recipe.steps[:steps]),
                "computed": self._computed_by(self.recipe.steps[:steps]),
            }
        )

    def _computed_by(self, steps: Sequence[Technique]) -> dict[str, Any]:
        """Return what else the files depend on: sums in other orders give other roundings, and time is another."""
        threads = {"threads": self.threads} if any(step.computes for step in steps) else {}
        learns = any("torch" in step.tools for step in steps)
        return threads | ({"accelerator": self.accelerator} if learns else {})


def tool_versions(steps: Sequence[Technique]) -> dict[str, str]:
    """Return the versions of the distributions that steps use, of Python, and of this package with its code's hash."""
    tools = sorted({tool for step in steps for tool in step.tools} | {"numpy"})
    found = {tool: tool_version(tool) for tool in tools}
    return {**found, "python": python_version(), "shoal": f"{__version__}+{_code_hash()[:12]}"}


def tool_version(tool: str) -> str:
    """Return the version of a distribution, `none` where it is not installed."""
    try:
        return installed_version(tool)
    except PackageNotFoundError:
        return "none"  # `Technique.apply` says so when the step is done, with what to install


@cache
def _code_hash() -> str:
    """Return a hash of this package's code: another release of it makes its files anew."""
    digest = sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


Watch = Callable[[Model, Sequence[Technique]], None]
"""Called with what a step has made, and the steps that are left; it may raise to stop the recipe early."""


def watch_nothing(model: Model, left: Sequence[Technique]) -> None:
    """Let every recipe run to its end."""


def do_steps(
    work: Work, store: Store, progress: Progress, watch: Watch = watch_nothing
) -> tuple[Model, tuple[StepRecord, ...]]:
    """Return what the steps make, and what each has made; those that are in the store are taken from there.

    Raises:
        CompressionError: A step can not be done.
    """
    model, records, spent_s = work.model, [], 0.0
    steps = work.recipe.steps
    teachers = work.data.teachers or (work.model,)
    data = replace(work.data, teachers=teachers)
    for place, step in enumerate(steps):
        progress(step.name, place, len(steps))
        key = work.key(place + 1)
        seconds = max(1.0, work.recipe.budget_minutes * 60 - spent_s)
        found = _read(store, key)
        if found is not None and _is_worth_more(found[1], seconds):
            store.drop(key)
            found = None
        if found is None:
            budget = Budget(seconds, work.recipe.seed, work.threads, work.accelerator)
            found = _do(step, model, data, budget, progress)
            _write(store, key, *found)
        model, record = found
        records.append(record)
        spent_s += record.seconds
        watch(model, steps[place + 1 :])
    progress("steps", len(steps), len(steps))
    return model, tuple(records)


def _is_worth_more(record: StepRecord, seconds: float) -> bool:
    """Whether a step was cut short by its budget, and there is more time for it now."""
    return record.was_cut and seconds > (record.budget_s or 0.0) * _MORE_TIME


def _do(step: Technique, model: Model, data: Data, budget: Budget, progress: Progress) -> tuple[Model, StepRecord]:
    def tell(stage: str, done: int, total: int) -> None:
        progress(stage if stage == step.name else f"{step.name}: {stage}", done, total)

    began_s = time.monotonic()
    made = step.apply(model, data, budget, tell)
    parameters: dict[str, Any] = step.model_dump(mode="json", exclude={"technique"})
    record = StepRecord(
        technique=step.name,
        parameters=parameters,
        form=made.form,
        precision=made.precision,
        sha256=made.sha256,
        size_bytes=made.size_bytes,
        gzip_bytes=gzip_bytes(made.content),
        seconds=time.monotonic() - began_s,
        was_cut=budget.was_cut,
        budget_s=budget.seconds,
    )
    return made, record


def _write(store: Store, key: str, model: Model, record: StepRecord) -> None:
    stored = _Stored(record=record, inputs=model.inputs, outputs=model.outputs)

    def write(folder: Path) -> None:
        (folder / f"model.{model.form}").write_bytes(model.content)
        (folder / STEP_FILE).write_text(stored.model_dump_json(indent=2) + "\n")

    store.put(key, write)


def _read(store: Store, key: str) -> tuple[Model, StepRecord] | None:
    """Return a finished step; one whose file is not what was written is dropped, and done again."""
    folder = store.find(key)
    if folder is None:
        return None
    try:
        stored = _Stored.model_validate_json((folder / STEP_FILE).read_bytes())
        record = stored.record
        content = (folder / f"model.{record.form}").read_bytes()
    except (OSError, ValidationError):
        store.drop(key)
        return None
    if sha256(content).hexdigest() != record.sha256:
        store.drop(key)
        return None
    return Model(record.form, content, stored.inputs, stored.outputs, record.precision), record
