"""Recipes that run: steps are kept, results are found again, and a killed run goes on where it was."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.compression.zoo import Case, digits

from shoal_compression import running_recipes
from shoal_compression.budget import Accelerator, Budget
from shoal_compression.comparing import classes_of
from shoal_compression.data import Data, Samples
from shoal_compression.errors import DataError, SourceError, TechniqueError, ToleranceError
from shoal_compression.machine import MachineKind
from shoal_compression.model import Model
from shoal_compression.original import read_original
from shoal_compression.recipe import Recipe, make_recipe
from shoal_compression.recipe_result import RecipeReport, RecipeResult
from shoal_compression.running import outputs_of
from shoal_compression.running_recipes import REPORT_FILE, RESULTS, STEPS, _result_key, run_recipe
from shoal_compression.steps import Work, do_steps
from shoal_compression.store import Store
from shoal_compression.technique import Progress, silent
from shoal_compression.techniques import ALL, name_of
from shoal_compression.techniques.float16 import Float16

ONE = make_recipe({"name": "one", "steps": ["float16"]})
TWO = make_recipe({"name": "two", "steps": ["float16", "int8-dynamic"]})

DIES_AFTER_A_STEP = """
import os, signal, sys
from pathlib import Path
from shoal_compression.original import read_original
from shoal_compression.recipe import make_recipe
from shoal_compression.running_recipes import run_recipe

def die(model, left):
    os.kill(os.getpid(), signal.SIGKILL)

original = read_original(Path(sys.argv[1]))
recipe = make_recipe({"name": "two", "steps": ["float16", "int8-dynamic"]})
run_recipe(recipe, original.models["onnx"], original.data, Path(sys.argv[2]), watch=die)
"""


@pytest.fixture(scope="module")
def case(bundle_dir: Path) -> Case:
    return digits(bundle_dir, "onnx")


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recipes")
    run_recipe(ONE, case.model, case.data, out)
    return out


def _run(recipe: Recipe, case: Case, folder: Path) -> tuple[RecipeResult, list[str]]:
    told: list[str] = []
    made = run_recipe(
        recipe, case.model, case.data, folder, progress=lambda stage, *_: told.append(stage), is_drawn=False
    )
    return made, told


def test_a_result_has_its_file_its_report_and_its_pages(case: Case, folder: Path) -> None:
    made = run_recipe(ONE, case.model, case.data, folder)
    assert made.was_cached
    assert made.path.read_bytes() == made.model.content
    assert made.model.size_bytes < case.model.size_bytes * 0.6
    names = {path.name for path in made.folder.iterdir()}
    assert names == {"model.onnx", REPORT_FILE, "report.md", "report.html", "sensitivity.png", "sensitivity.svg"}
    assert RecipeReport.model_validate_json((made.folder / REPORT_FILE).read_bytes()) == made.report
    assert "Accuracy by slice" in (made.folder / "report.md").read_text()
    assert "half=low" in (made.folder / "report.html").read_text()
    assert outputs_of(made.model, case.data.test.first(2))


def test_lineage_says_all_that_is_needed_to_make_it_again(case: Case, folder: Path) -> None:
    lineage = run_recipe(ONE, case.model, case.data, folder).lineage
    assert lineage.source_sha256 == case.model.sha256
    assert Recipe.model_validate(lineage.recipe).sha256 == lineage.recipe_sha256 == ONE.sha256
    assert {"onnx", "numpy", "python", "shoal"} <= set(lineage.tool_versions)
    [step] = lineage.steps
    assert (step.technique, step.form, step.precision) == ("float16", "onnx", "float16 weights")
    assert 0 < step.gzip_bytes <= step.size_bytes < lineage.source_bytes


def test_figures_are_measured_side_by_side(case: Case, folder: Path) -> None:
    report = run_recipe(ONE, case.model, case.data, folder).report
    for found in (report.source, report.variant):
        assert found.latency_p50_ms is not None
        assert found.latency_p95_ms is not None
        assert 0 < found.latency_p50_ms <= found.latency_p95_ms
        assert found.memory_bytes
    assert report.source.macs == report.variant.macs
    assert report.source.weights_bytes is not None
    assert report.variant.weights_bytes is not None
    assert report.source.weights_bytes == pytest.approx(2 * report.variant.weights_bytes, rel=0.02)


@pytest.mark.parametrize(
    "other",
    [
        ONE.model_copy(update={"seed": 1}),
        make_recipe({"name": "one", "steps": ["float16"], "tolerance": {"max_drop_points": 0.5}}),
    ],
)
def test_another_seed_or_tolerance_is_another_result(case: Case, folder: Path, other: Recipe) -> None:
    made, _ = _run(other, case, folder)
    assert not made.was_cached


def test_other_data_is_another_result(case: Case, folder: Path) -> None:
    fewer = replace(case.data, test=case.data.test.first(50))
    assert not run_recipe(ONE, case.model, fewer, folder, is_drawn=False).was_cached


def test_a_recipe_that_begins_like_another_shares_its_beginning(case: Case, folder: Path) -> None:
    before = {path.name for path in (folder / STEPS).iterdir()}
    _run(TWO, case, folder)
    assert len({path.name for path in (folder / STEPS).iterdir()} - before) == 1


def _keys(recipe: Recipe, case: Case, threads: int = 1, accelerator: Accelerator = "cpu") -> tuple[str, str]:
    work = Work(recipe, case.model, case.data, threads, accelerator)
    return work.key(len(recipe.steps)), _result_key(work, case.model)


def test_threads_and_accelerator_are_in_the_key_of_what_they_can_change(case: Case) -> None:
    learns, computes = (make_recipe({"name": "a", "steps": [one]}) for one in ("adaround", "int8-static"))
    assert _keys(learns, case)[0] != _keys(learns, case, threads=2)[0]
    assert _keys(learns, case)[0] != _keys(learns, case, accelerator="cuda")[0]
    assert _keys(computes, case)[0] != _keys(computes, case, threads=2)[0]
    assert _keys(computes, case)[0] == _keys(computes, case, accelerator="cuda")[0]
    assert _keys(ONE, case)[0] == _keys(ONE, case, threads=2, accelerator="cuda")[0]


def test_what_another_machine_or_runtime_has_measured_is_measured_anew(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, result = _keys(ONE, case)
    with monkeypatch.context() as patched:
        patched.setattr(running_recipes, "machine_kind", lambda: MachineKind(architecture="aarch64", flags=()))
        assert _keys(ONE, case)[0] == step
        assert _keys(ONE, case)[1] != result
    monkeypatch.setattr(running_recipes, "tool_version", lambda _tool: "0")
    assert _keys(ONE, case)[1] != result


def test_the_runtime_that_a_teacher_answers_by_is_among_the_tools() -> None:
    taught = [one for one in ALL if one.trains and "onnx" in one.takes]
    assert {name_of(one) for one in taught if "onnxruntime" not in one.tools} == set()


def test_a_step_that_its_budget_cut_short_is_done_again_once_there_is_more_time(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_s: list[float] = []

    def make(step: Float16, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        given_s.append(budget.seconds)
        if budget.seconds < 60:
            assert replace(budget, clock=lambda: budget.began_s).left_s > 0
            object.__setattr__(budget, "clock", lambda: budget.began_s + 60)
            assert budget.left_s == 0
        return halve(step, model, data, budget, progress)

    halve = Float16.make
    monkeypatch.setattr(Float16, "make", make)
    work = Work(ONE, case.model, case.data, 1, "cpu")
    store = Store(tmp_path)
    # The key says the same budget: what is left of it is less after steps before that took longer.
    short = replace(work, recipe=ONE.model_copy(update={"budget_minutes": 0.5}))
    monkeypatch.setattr(Work, "key", lambda *_: "a" * 64)
    _, [first] = do_steps(short, store, silent)
    _, [again] = do_steps(short, store, silent)
    _, [whole] = do_steps(work, store, silent)
    _, [kept] = do_steps(short, store, silent)
    assert given_s == [30, ONE.budget_minutes * 60]
    assert (first.was_cut, whole.was_cut) == (True, False)
    assert (again, kept) == (first, whole)


def test_a_model_that_can_not_be_compared_is_an_error_of_this_package(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("it has no axis 3")

    for name, doing in (
        ("verify", "comparing the result of one with"),
        ("measure_both", "measuring the result of one"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(running_recipes, name, fail)
            with pytest.raises(TechniqueError, match=f"{doing} .*RuntimeError: it has no axis 3"):
                _run(ONE, case, tmp_path)


def test_a_file_that_was_altered_is_made_again(case: Case, tmp_path: Path) -> None:
    made, _ = _run(ONE, case, tmp_path)
    made.path.write_bytes(b"broken")
    again, _ = _run(ONE, case, tmp_path)
    assert not again.was_cached
    assert again.path.read_bytes() == made.model.content


@pytest.mark.timeout(600)  # on a busy machine
def test_a_killed_run_goes_on_after_its_last_finished_step(bundle_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES_AFTER_A_STEP, str(bundle_dir), str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=400).returncode == -signal.SIGKILL
    [first] = (tmp_path / STEPS).iterdir()
    assert not (tmp_path / RESULTS).exists()
    written_ns = (first / "step.json").stat().st_mtime_ns
    original = read_original(bundle_dir)
    made = run_recipe(TWO, original.models["onnx"], original.data, tmp_path, is_drawn=False)
    assert not made.was_cached
    assert (first / "step.json").stat().st_mtime_ns == written_ns
    seconds = json.loads((first / "step.json").read_text())["record"]["seconds"]
    assert made.lineage.steps[0].seconds == seconds
    assert len(list((tmp_path / STEPS).iterdir())) == 2


def test_a_result_outside_of_its_tolerance_is_refused_with_its_layers(case: Case, tmp_path: Path) -> None:
    strict = make_recipe({"name": "strict", "steps": ["float16"], "tolerance": {"min_sqnr_db": 150}})
    made, _ = _run(strict, case, tmp_path)
    with pytest.raises(
        ToleranceError, match=r"an SQNR of .* dB, at least 150 are demanded; the layers that lose .*dB\)"
    ):
        made.accepted()


def test_calibration_of_one_class_is_refused_with_the_remedy(case: Case, tmp_path: Path) -> None:
    test = case.data.test
    said = classes_of(outputs_of(case.model, test)["probabilities"])
    threes = test.at(np.flatnonzero((test.labels == 3) & (said == 3)))
    for calibration in (threes, Samples({"image": threes.inputs["image"]})):
        with pytest.raises(DataError, match=r"of class 3, expected some of each.*draw them anew"):
            run_recipe(ONE, case.model, replace(case.data, calibration=calibration), tmp_path)
    assert not (tmp_path / RESULTS).exists()


def test_a_step_that_fails_registers_nothing(case: Case, tmp_path: Path) -> None:
    huge = case.model.with_content(case.model.content)
    wrong = replace(case.data, calibration=Samples({"image": np.zeros((4, 3, 3, 1), np.float32)}))
    with pytest.raises(DataError, match="shape"):
        run_recipe(ONE, huge, wrong, tmp_path)
    assert not (tmp_path / RESULTS).exists()


def test_a_recipe_of_another_form_is_refused(bundle_dir: Path) -> None:
    original = replace(read_original(bundle_dir), models={"onnx": digits(bundle_dir, "onnx").model})
    recipe = make_recipe({"name": "keras", "steps": ["to-litert"]})
    with pytest.raises(SourceError, match="onnx found, expected keras; choose another recipe"):
        original.start(recipe)


def test_a_gpu_that_is_not_there_is_told_before_the_first_step(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(TechniqueError, match="PyTorch finds no GPU; take --accelerator cpu"):
        run_recipe(ONE, case.model, case.data, tmp_path, accelerator="cuda")
    assert not (tmp_path / STEPS).exists()
