"""Runs recipes: steps in turn, each kept as soon as it is finished, verified and measured at the end.

A folder holds `steps/KEY/` and `results/KEY/`. The key of a step hashes the source, the data, the seed, the budget, the
versions of the tools, threads and accelerator where they count, and all steps up to it, so that recipes that begin
alike share their beginning, a run that was killed goes on after its last finished step, and the same recipe on the same
inputs is found and not run again. That of a result hashes the kind of machine and the runtimes that measured it as
well. A step that its budget cut short is done again where there is more time. A folder is made under another name and
renamed: what is there is whole.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from shoal_compression.budget import Accelerator, check_accelerator
from shoal_compression.comparing import classes_of
from shoal_compression.data import Data, Samples
from shoal_compression.errors import DataError
from shoal_compression.extras import need
from shoal_compression.failing import told
from shoal_compression.lineage import Lineage, StepRecord
from shoal_compression.machine import machine_kind
from shoal_compression.measuring import measure_both
from shoal_compression.model import Form, Model
from shoal_compression.output_folder import make_folder, says_unwritable
from shoal_compression.recipe import Recipe, RecipeData
from shoal_compression.recipe_result import RecipeReport, RecipeResult
from shoal_compression.report_page import PAGE, write_pages
from shoal_compression.running import outputs_of
from shoal_compression.steps import Watch, Work, do_steps, tool_version, watch_nothing
from shoal_compression.store import Store
from shoal_compression.technique import Progress, silent
from shoal_compression.values import content_hash
from shoal_compression.verify import has_classes, verify

__all__ = ["RecipeReport", "RecipeResult", "run_recipe"]

REPORT_FILE: Final = "report.json"
STEPS: Final = "steps"
RESULTS: Final = "results"
MEASURED_BY: Final = ("onnxruntime", "ai-edge-litert")
_STAGES: Final = 2
"""After the steps: to verify, and to measure."""


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
    watch: Watch = watch_nothing,
    is_drawn: bool = True,
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
        watch: Shown what each step has made; what it raises ends the run.
        is_drawn: Whether the pages and pictures of the report are written as well; `write_pages` does it later.

    Raises:
        CompressionError: A step can not be done; steps before it are kept.
        OutputError: The folder can not be written.
        MissingLibraryError: A library is not installed.
    """
    if is_drawn:
        need("drawing what layers lose", "matplotlib")
    work = Work(recipe, model, used_data(data, recipe.data, recipe.seed), threads, accelerator)
    source = reference or model
    results = Store(folder / RESULTS)
    key = _result_key(work, source)
    found = _read(results, key, work)
    if found is not None:
        if is_drawn and not (found.folder / PAGE).is_file():
            with says_unwritable(found.folder):
                write_pages(found.report, found.folder)
        return found
    make_folder(folder)
    check_accelerator(accelerator)
    work.data.check(model)
    _check_classes(source, work.data)
    steps = Store(folder / STEPS)
    for store in (steps, results):
        store.clear_unfinished()
    made, records = do_steps(work, steps, progress, watch)
    report = _report(work, source, made, records, progress)

    def write(new: Path) -> None:
        (new / f"model.{made.form}").write_bytes(made.content)
        (new / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n")
        if is_drawn:
            write_pages(report, new)

    return RecipeResult(recipe, made, report, results.put(key, write), was_cached=False)


def _result_key(work: Work, source: Model) -> str:
    tolerance = work.recipe.tolerance.model_dump(mode="json")
    steps = work.key(len(work.recipe.steps))
    measured = {"on": machine_kind().model_dump(mode="json"), "by": {tool: tool_version(tool) for tool in MEASURED_BY}}
    return content_hash({"steps": steps, "against": source.sha256, "tolerance": tolerance, "measured": measured})


def _read(results: Store, key: str, work: Work) -> RecipeResult | None:
    """Return a finished result; one whose file is not what was written is dropped, and made again."""
    folder = results.find(key)
    if folder is None:
        return None
    try:
        report = RecipeReport.model_validate_json((folder / REPORT_FILE).read_bytes())
        last = report.lineage.steps[-1]
        content = (folder / f"model.{last.form}").read_bytes()
    except (OSError, ValidationError, IndexError):
        results.drop(key)
        return None
    if hashlib.sha256(content).hexdigest() != last.sha256:
        results.drop(key)
        return None
    made = _called_like(work.model, last.form, content, last.precision)
    report = report.model_copy(update={"recipe": work.recipe.name})
    return RecipeResult(work.recipe, made, report, folder, was_cached=True)


def _called_like(model: Model, form: Form, content: bytes, precision: str) -> Model:
    return model.with_content(content, form=form, precision=precision)


def _report(
    work: Work, source: Model, made: Model, records: tuple[StepRecord, ...], progress: Progress
) -> RecipeReport:
    held_out = work.data.test
    name, advice = work.recipe.name, "see that the source and the variant run on the held-out samples"
    progress("verify", 0, _STAGES)
    with told(f"comparing the result of {name} with its source", advice):
        verdict = verify(source, made, held_out, work.recipe.tolerance, layers_of=_same_form(work, source, made))
    progress("measure", 1, _STAGES)
    with told(f"measuring the result of {name} beside its source", advice):
        before, after = measure_both(source, made, held_out, verdict)
    progress("measure", _STAGES, _STAGES)
    lineage = Lineage(
        source_sha256=work.model.sha256,
        source_form=work.model.form,
        source_bytes=work.model.size_bytes,
        recipe=work.recipe.model_dump(mode="json"),
        recipe_sha256=work.recipe.sha256,
        data_fingerprint=work.data.fingerprint,
        tool_versions=work.tool_versions,
        seed=work.recipe.seed,
        threads=work.threads,
        accelerator=work.accelerator,
        steps=records,
    )
    return RecipeReport(recipe=work.recipe.name, lineage=lineage, verdict=verdict, source=before, variant=after)


def _same_form(work: Work, source: Model, made: Model) -> Model | None:
    """Return the float model whose layers can be compared with those of the result, where it is not the reference."""
    return work.model if source.form != made.form == work.model.form else None


def used_data(data: Data, bounds: RecipeData, seed: int) -> Data:
    """Return the samples that a recipe with these bounds uses."""
    train = data.train
    if train is not None and bounds.train_samples is not None and bounds.train_samples < len(train):
        train = train.some(bounds.train_samples, seed)
    calibration = data.calibration
    if bounds.calibration_samples is not None and bounds.calibration_samples < len(calibration):
        calibration = calibration.some(bounds.calibration_samples, seed)
    test = data.test
    if bounds.test_samples is not None and bounds.test_samples < len(test):
        test = test.first(bounds.test_samples)
    if calibration is data.calibration and test is data.test and train is data.train:
        return data  # whose fingerprint may be known
    return replace(data, calibration=calibration, test=test, train=train)


def _check_classes(source: Model, data: Data) -> None:
    """See that calibration has samples of more than one class where the held-out samples have.

    Raises:
        DataError: It has not: the ranges that are found on them would cut all others off.
    """
    seen, held_out = (_classes(source, samples) for samples in (data.calibration, data.test))
    if len(seen) == 1 and len(held_out) > 1 and len(data.calibration) > 1:
        found = f"{len(data.calibration)} samples found, all of class {next(iter(seen))}"
        expected = f"expected some of each, as among the held-out samples ({len(held_out)} classes)"
        raise DataError(f"checking the calibration samples: {found}, {expected}; draw them anew, at random")


def _classes(source: Model, samples: Samples) -> set[int]:
    """Return the classes of samples: by their labels, otherwise by what the source says of the first ones."""
    if has_classes(samples) and samples.labels is not None:
        return {int(label) for label in np.unique(samples.labels)}
    if samples.labels is not None:
        return set()
    few = samples.first(256)
    return {int(one) for one in np.unique(classes_of(outputs_of(source, few)[source.outputs[0].name]))}
