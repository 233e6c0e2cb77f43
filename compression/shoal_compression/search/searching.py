"""The search itself: Optuna over the space of recipes, within a budget, resumed where it stopped.

Every single technique and every built-in recipe that fits is tried first; from what these cost, a multi-objective
tree-structured Parzen estimator chooses what to try next (Ozaki et al. 2022, JAIR 73).
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from shoal_compression.budget import check_accelerator
from shoal_compression.errors import CompressionError, OutputError, SearchError
from shoal_compression.extras import need
from shoal_compression.measures import Measures
from shoal_compression.model import RUNTIMES, Form, Model
from shoal_compression.original import Original
from shoal_compression.output_folder import held_alone, make_folder, says_unwritable
from shoal_compression.recipe import Recipe
from shoal_compression.recipe_files import builtin_recipes
from shoal_compression.recipe_result import RecipeResult
from shoal_compression.report_page import PAGE, write_pages
from shoal_compression.running_recipes import run_recipe, used_data
from shoal_compression.search.candidates import SOURCE, Candidate
from shoal_compression.search.early import EarlyStop
from shoal_compression.search.picture import draw_fronts
from shoal_compression.search.result import REPORT_FILE, SearchReport, SearchResult, SearchSettings
from shoal_compression.search.space import Chosen, single_choices, space_hash, suggest
from shoal_compression.search.study import Study
from shoal_compression.technique import Progress, silent
from shoal_compression.values import content_hash

__all__ = ["SearchResult", "SearchSettings", "search", "search_key"]

RECIPES: Final = "recipes"
_QUICK_S: Final = 20.0
"""What a recipe that does not train is expected to take, until one like it was run."""
_LONG_SHARE: Final = 0.25
"""Of the budget: what one that trains is expected to take at most, until one like it was run."""
_MOST_TOO_LONG: Final = 25
"""Trials for which there is no time: there is none for others like them."""
_MOST_REPEATED: Final = 25
"""Trials in a row that choose what was tried: the space is exhausted, or nearly."""


def search(
    original: Original, folder: Path, settings: SearchSettings | None = None, progress: Progress = silent
) -> SearchResult:
    """Search over recipes; a folder with an earlier search of the same original is continued.

    Raises:
        SearchError: The folder holds a search of another original or with other settings, another search is running in
            it, or no recipe fits.
        OutputError: The folder can not be written, or the disk is full; the search can be continued.
        MissingLibraryError: What draws or chooses is not installed.
        CompressionError: The original can not be run.
    """
    settings = settings or SearchSettings()
    make_folder(folder)
    need("searching", "optuna", "matplotlib")
    check_accelerator(settings.accelerator)
    with held_alone(folder) as is_alone:
        if not is_alone:
            found = f"another search in {folder} is running"
            raise SearchError(f"searching for {original.name}: {found}; wait for its end, or name another folder")
        return _Search(original, folder, settings, progress).run()


def search_key(original: Original, settings: SearchSettings) -> str:
    """Return a name for the folder of a search, which a search of the same with the same settings has again."""
    about = (original.name, original.reference.sha256, original.data.fingerprint, settings.objectives)
    space = space_hash(_forms(original), has_train=original.data.train is not None)
    recipes = [recipe.sha256 for recipe in settings.recipes]
    return content_hash([*about, space, recipes, settings.frame.model_dump(mode="json"), settings.budget_minutes])[:32]


def _forms(original: Original) -> tuple[Form, ...]:
    return tuple(form for form in ("onnx", "keras", "tflite", "torch") if form in original.models)


class _Search:
    """One run of a search: it may be the first, or continue an earlier one."""

    def __init__(self, original: Original, folder: Path, settings: SearchSettings, progress: Progress) -> None:
        self.settings = settings
        self.folder = folder
        self.progress = progress
        self.frame = settings.frame
        # Selected once, so that its fingerprint is taken once.
        shared = used_data(original.data, self.frame.data, self.frame.seed)
        self.original = replace(original, data=shared)
        self.forms = _forms(original)
        self.has_train = original.data.train is not None
        self.early = EarlyStop(original.reference, self.original.data.test, self.frame.tolerance)
        self.results: dict[str, RecipeResult] = {}
        self.refused: dict[str, tuple[str, str]] = {}
        """Name and reason, by the recipe's hash."""
        self.repeated = 0
        self.is_exhausted = False
        self.costs_s: dict[tuple[str, ...], float] = {}
        self._check_same()
        self.study = Study(folder, settings.objectives, settings.seed)
        self.before_s = self.study.seconds
        self.began_s = time.monotonic()

    def run(self) -> SearchResult:
        self._recall()
        self._try_named()
        for choices in single_choices(self.forms, has_train=self.has_train):
            alone = Chosen(choices)
            suggest(alone, self.forms, self.frame, has_train=self.has_train)
            self.study.enqueue(alone.asked)  # all of it: the sampler would choose what is left open
        too_long: list[Any] = []
        while self._has_time and not self._is_complete and len(too_long) < _MOST_TOO_LONG:
            trial = self.study.ask()
            if not self._try_next(trial):
                too_long.append(trial)
        for trial in too_long:  # last: what is put back is asked for next
            self.study.put_back(trial)
        return self._finished()

    @property
    def _is_complete(self) -> bool:
        return self.is_exhausted or self.tried >= self.settings.max_trials

    @property
    def _has_time(self) -> bool:
        return self.spent_s < self.settings.budget_minutes * 60

    @property
    def tried(self) -> int:
        """Recipes that were made, or refused."""
        return len(self.results) + len(self.refused)

    def _try_next(self, trial: Any) -> bool:  # noqa: ANN401 - Optuna's
        """Do a trial; False: there is no time for it, and it is left open."""
        recipe = suggest(trial, self.forms, self.frame, has_train=self.has_train)
        if recipe is not None and not self._fits_budget(recipe):
            return False
        is_new = recipe is not None and not self._is_known(recipe)
        self.repeated = 0 if is_new else self.repeated + 1
        self.is_exhausted = self.repeated >= _MOST_REPEATED
        if recipe is None:
            self.study.tell_failed(trial, "nothing to do", 0.0)
        else:
            self._try_trial(trial, recipe)
        return True

    def _recall(self) -> None:
        """Find what earlier runs have made."""
        for choices, reason in self.study.finished():
            recipe = suggest(Chosen(choices), self.forms, self.frame, has_train=self.has_train)
            if recipe is not None and reason:
                self.refused[recipe.sha256] = (recipe.name, reason)
            elif recipe is not None:
                self._run(recipe)

    @property
    def spent_s(self) -> float:
        """By all runs of this search."""
        return self.before_s + time.monotonic() - self.began_s

    def _check_same(self) -> None:
        """See that an earlier search in the folder was of the same original, with the same settings."""
        if not (self.folder / REPORT_FILE).is_file():
            SearchReport(**self._about(), source=_placeholder(self.original)).write(self.folder)
            return
        earlier = SearchReport.read(self.folder)
        self.is_exhausted = earlier.is_exhausted
        for field, mine in self._about().items():
            if getattr(earlier, field) != mine:
                found = f"another {field.removesuffix('_sha256').replace('_', ' ')} found in {self.folder}"
                raise SearchError(
                    f"continuing a search: {found}; give the settings that it began with, or a new folder"
                )

    def _about(self) -> dict[str, Any]:
        return {
            "name": self.original.name,
            "source_sha256": self.original.reference.sha256,
            "objectives": self.settings.objectives,
            "frame": self.frame,  # before the data: another seed draws others
            "space_sha256": space_hash(self.forms, has_train=self.has_train),
            "data_fingerprint": self.original.data.fingerprint,
        }

    def _try_named(self) -> None:
        """Run the given and the built-in recipes that fit the model, and the time that is left."""
        for recipe in (*self.settings.recipes, *builtin_recipes().values()):
            is_fed = self.has_train or not any(step.needs_train for step in recipe.steps)
            if not recipe.takes & set(self.forms) or not is_fed:
                continue
            mine = self.frame.again(recipe)
            if self.tried >= self.settings.max_trials:
                return
            if not self._is_known(mine) and self._fits_budget(mine):
                self._run(mine)

    def _try_trial(self, trial: Any, recipe: Recipe) -> None:  # noqa: ANN401 - Optuna's
        began_s = time.monotonic()
        result = self._run(recipe)
        seconds = time.monotonic() - began_s
        if result is None or not result.verdict.is_within:
            self.study.tell_failed(trial, self.refused[recipe.sha256][1], seconds)
            return
        candidate = _candidate(result, _source(self.original, list(self.results.values())))
        self.study.tell(trial, [candidate.cost(one) for one in self.settings.objectives], seconds)

    def _run(self, recipe: Recipe) -> RecipeResult | None:
        """Run a recipe, or find it; None: it could not be made, or was stopped early."""
        if self._is_known(recipe):
            return self.results.get(recipe.sha256)
        self.progress(recipe.name, self.tried, max(self.tried, self.settings.max_trials))
        self.early.begin()
        began_s = time.monotonic()
        try:
            result = run_recipe(
                recipe,
                self.original.start(recipe),
                self.original.data,
                self.folder / RECIPES,
                reference=self.original.reference,
                threads=self.settings.threads,
                accelerator=self.settings.accelerator,
                watch=self.early.watch,
                is_drawn=False,
            )
        except OutputError:  # of the folder, and not of the recipe
            raise
        except CompressionError as error:
            self.refused[recipe.sha256] = (recipe.name, str(error))
            return None
        finally:
            self._note_cost(recipe, time.monotonic() - began_s)
        if not result.verdict.is_within:
            self.refused[recipe.sha256] = (recipe.name, "; ".join(result.verdict.reasons))
            return result
        self.early.finished(recipe.name)
        self.results[recipe.sha256] = result
        self._report().write(self.folder)
        return result

    def _is_known(self, recipe: Recipe) -> bool:
        return recipe.sha256 in self.results or recipe.sha256 in self.refused

    def _note_cost(self, recipe: Recipe, seconds: float) -> None:
        kind = _kind(recipe)
        self.costs_s[kind] = max(seconds, self.costs_s.get(kind, 0.0))

    def _fits_budget(self, recipe: Recipe) -> bool:
        """Whether a recipe is expected to end within the budget; one that is known costs nothing."""
        budget_s = self.settings.budget_minutes * 60
        if self._is_known(recipe):
            return self._has_time
        is_long = any(step.trains for step in recipe.steps)
        unknown_s = min(self.settings.recipe_minutes * 60, budget_s * _LONG_SHARE) if is_long else _QUICK_S
        return self.spent_s + self.costs_s.get(_kind(recipe), unknown_s) <= budget_s or not self.results

    def _report(self) -> SearchReport:
        source = _source(self.original, list(self.results.values()))
        own = [source] if self.original.reference.form in RUNTIMES else []
        made = [(_candidate(one, source), one.recipe.targets) for one in self.results.values()]
        return SearchReport(
            **self._about(),
            source=source,
            candidates=_by_target([*((one, ()) for one in own), *made]),
            results={key: str(one.folder.relative_to(self.folder)) for key, one in self.results.items()},
            refused=dict(self.refused.values()),
            trials=self.tried,
            seconds=self.spent_s,
            is_exhausted=self.is_exhausted,
            is_complete=self._is_complete,
        )

    def _finished(self) -> SearchResult:
        if not self.results and not self.refused:
            found = f"{', '.join(self.forms)} found"
            raise SearchError(
                f"searching for {self.original.name}: {found}, and no technique takes it; convert it first"
            )
        self.study.note_seconds(time.monotonic() - self.began_s)
        report = self._report()
        report.write(self.folder)
        with says_unwritable(self.folder):
            self._draw(report)
        return SearchResult(self.folder, report, tuple(self.results.values()))

    def _draw(self, report: SearchReport) -> None:
        """Write the picture of the fronts, and the pages of the results on them."""
        draw_fronts(report.candidates, report.fronts, report.objectives, self.folder)
        for front in report.fronts.values():
            for result in (self.results[one.recipe_sha256] for one in front if one.recipe_sha256 in self.results):
                if not (result.folder / PAGE).is_file():
                    write_pages(result.report, result.folder)


def target_of(model: Model) -> str:
    """Return the class of all devices whose runtime loads a model."""
    return f"generic-{'litert' if model.form == 'tflite' else model.form}"


def _by_target(made: Sequence[tuple[Candidate, Sequence[str]]]) -> tuple[Candidate, ...]:
    """Return candidates by target: a class that a recipe names has what is for it, and all that is for every class."""
    named = sorted({target for _, targets in made for target in targets})
    found = [one for one, targets in made if not targets]
    for name in named:
        found += [one.model_copy(update={"target": name}) for one, targets in made if not targets or name in targets]
    return tuple(found)


def _kind(recipe: Recipe) -> tuple[str, ...]:
    return tuple(step.name for step in recipe.steps)


def _candidate(result: RecipeResult, source: Candidate) -> Candidate:
    return Candidate(
        name=result.recipe.name,
        recipe_sha256=result.recipe.sha256,
        target=target_of(result.model),
        measures=_as_beside(result.report.variant, result.report.source, source.measures),
        drop_points=result.verdict.points_lost,
    )


def _as_beside(variant: Measures, then: Measures, source: Measures) -> Measures:
    """Return a variant's figures with its latency brought to the source's usual one.

    Variants are measured one after the other, on a machine that is now slower and now faster; what holds is the ratio
    to the source, which took turns with each.
    """
    found = {}
    for name in ("latency_p50_ms", "latency_p95_ms"):
        mine, beside, usual = (getattr(one, name) for one in (variant, then, source))
        if mine is not None and beside and usual:
            found[name] = mine * usual / beside
    return variant.model_copy(update=found)


def _placeholder(original: Original) -> Candidate:
    """Return the source before anything was measured."""
    reference = original.reference
    measures = Measures(size_bytes=reference.size_bytes)
    return Candidate(
        name=SOURCE, recipe_sha256=reference.sha256, target=target_of(reference), measures=measures, drop_points=0.0
    )


def _source(original: Original, results: list[RecipeResult]) -> Candidate:
    """Return the source with the medians of what was measured of it beside each variant."""
    empty = _placeholder(original)
    if not results:
        return empty
    by_latency = sorted(results, key=lambda one: one.report.source.latency_p50_ms or 0.0)
    return empty.model_copy(update={"measures": by_latency[len(by_latency) // 2].report.source})
