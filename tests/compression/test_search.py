"""Search over recipes: what is tried, what is found, and that a killed one resumes where it stopped."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.compression.zoo import digits

from shoal_compression.data import Data
from shoal_compression.errors import SearchError
from shoal_compression.model import Form
from shoal_compression.original import Original
from shoal_compression.recipe import RecipeData, Tolerance, make_recipe
from shoal_compression.search import searching
from shoal_compression.search.candidates import Constraints
from shoal_compression.search.early import EarlyStop, StoppedEarlyError
from shoal_compression.search.result import SearchReport, SearchSettings
from shoal_compression.search.searching import search, search_key
from shoal_compression.search.space import CHOICES, STAGES, Chosen, Frame, kind_of, nested, single_choices, suggest
from shoal_compression.search.study import Study
from shoal_compression.techniques import ALL, BY_NAME, name_of
from shoal_compression.techniques.distil.distil import Distil

FRAME = Frame(data=RecipeData(), tolerance=Tolerance(), budget_minutes=1.0, seed=0)
HALF = make_recipe({"name": "half", "steps": ["float16"]})
QUARTER = make_recipe({"name": "quarter", "steps": ["float16", "int8-dynamic"]})
SETTINGS = SearchSettings(budget_minutes=5, max_trials=3, recipes=(HALF, QUARTER))

DIES_AT_ITS_SECOND_RECIPE = """
import os, signal, sys
from pathlib import Path
from tests.compression.test_search import SETTINGS, onnx_alone
from shoal_compression.search.searching import search

told = []

def tell(stage, done, total):
    told.append(stage)
    if len(told) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

search(onnx_alone(Path(sys.argv[1])), Path(sys.argv[2]), SETTINGS, tell)
"""


def onnx_alone(bundle_dir: Path) -> Original:
    """Return the digits network as ONNX, without samples to train on, so that no technique trains."""
    case = digits(bundle_dir, "onnx")
    return Original("digits", {"onnx": case.model}, Data(case.data.calibration, case.data.test))


@pytest.mark.parametrize("forms", [("onnx",), ("keras",), ("onnx", "keras")])
def test_every_technique_that_fits_is_in_the_space_by_itself(forms: tuple[Form, ...]) -> None:
    tried = set()
    for choices in single_choices(forms, has_train=True):
        recipe = suggest(Chosen(choices), forms, FRAME, has_train=True)
        assert recipe is not None
        tried.add(recipe.steps[0].name)
    ends = {one.gives for one in ALL if "keras" in one.takes}
    fitting = {name_of(one) for one in ALL if one.takes & set(forms)}
    assert ends
    assert tried == fitting


def test_a_study_tries_each_technique_alone_before_anything_else(tmp_path: Path) -> None:
    study = Study(tmp_path, ("size", "accuracy"), seed=0)
    expected = []
    for choices in single_choices(("onnx",), has_train=True):
        alone = Chosen(choices)
        expected.append(suggest(alone, ("onnx",), FRAME, has_train=True))
        study.enqueue(alone.asked)
    tried = [suggest(study.ask(), ("onnx",), FRAME, has_train=True) for _ in expected]
    assert tried == expected


def test_what_the_space_may_set_are_fields_of_techniques() -> None:
    for name, fields in CHOICES.items():
        for field, values in fields.items():
            for value in values:
                BY_NAME[name].model_validate({"technique": name, **nested({field: value})})


def test_every_technique_belongs_to_a_stage() -> None:
    known = {kind for stage in STAGES for kind in stage}
    assert {name_of(one): kind_of(one) for one in ALL if kind_of(one) not in known} == {}


def test_a_search_finds_a_front_that_beats_its_source_and_draws_it(bundle_dir: Path, tmp_path: Path) -> None:
    found = search(onnx_alone(bundle_dir), tmp_path, SETTINGS)
    [front] = found.fronts.values()
    assert front[0].measures.size_bytes < found.source.measures.size_bytes / 1.8
    assert {"half", "quarter"} <= {one.name for one in found.report.candidates}
    assert (tmp_path / "front.png").stat().st_size > 5_000
    assert "<svg" in (tmp_path / "front.svg").read_text()
    assert SearchReport.read(tmp_path) == found.report
    chosen = found.choose(Constraints(max_drop=0.5), prefer="size")
    assert found.result_of(chosen).path.stat().st_size == chosen.measures.size_bytes
    with pytest.raises(SearchError, match="it is the source itself"):
        found.result_of(found.source)
    with pytest.raises(SearchError, match="no such target; known are generic-onnx"):
        found.choose(Constraints(), target="pi9")


@pytest.mark.timeout(600)  # on a busy machine
def test_a_killed_search_resumes_where_it_stopped(bundle_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES_AT_ITS_SECOND_RECIPE, str(bundle_dir), str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=400).returncode == -signal.SIGKILL
    before = SearchReport.read(tmp_path)
    assert [one.name for one in before.candidates] == ["source", "half"]
    found = search(onnx_alone(bundle_dir), tmp_path, SETTINGS)
    cached = {result.recipe.name: result.was_cached for result in found.results}
    assert cached["half"]
    assert not cached["quarter"]
    again = search(onnx_alone(bundle_dir), tmp_path, SETTINGS)
    assert all(result.was_cached for result in again.results)
    assert again.report.trials == found.report.trials
    assert again.fronts == found.fronts


def test_a_folder_of_another_search_is_refused(bundle_dir: Path, tmp_path: Path) -> None:
    original = onnx_alone(bundle_dir)
    search(original, tmp_path, replace(SETTINGS, max_trials=1, recipes=()))
    with pytest.raises(SearchError, match="another frame found in .*or a new folder"):
        search(original, tmp_path, replace(SETTINGS, seed=5))
    fewer = replace(original, data=replace(original.data, test=original.data.test.first(60)))
    with pytest.raises(SearchError, match="another data fingerprint found"):
        search(fewer, tmp_path, SETTINGS)


def test_a_class_that_a_recipe_names_has_the_source_and_what_is_for_every_class(
    bundle_dir: Path, tmp_path: Path
) -> None:
    board = make_recipe({"name": "board", "steps": ["float16", "int8-dynamic"], "targets": ["pi4"]})
    found = search(onnx_alone(bundle_dir), tmp_path, replace(SETTINGS, max_trials=2, recipes=(HALF, board)))
    names = {target: {one.name for one in found.report.candidates if one.target == target} for target in found.fronts}
    assert names == {"generic-onnx": {"source", "half"}, "pi4": {"source", "half", "board"}}


def test_a_recipe_without_time_for_it_does_not_keep_others_from_being_tried(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_LONG_SHARE", 1.0)
    long = make_recipe({"name": "long", "steps": ["distil", "float16"]})
    settings = replace(SETTINGS, budget_minutes=2.0, max_trials=2, recipes=(HALF, long, QUARTER))
    found = search(onnx_alone(bundle_dir), tmp_path, settings)
    assert {one.recipe.name for one in found.results} == {"half", "quarter"}


def test_a_search_has_the_same_key_again_and_another_for_whatever_it_is_asked(bundle_dir: Path) -> None:
    original = onnx_alone(bundle_dir)
    key = search_key(original, SETTINGS)
    assert search_key(onnx_alone(bundle_dir), replace(SETTINGS)) == key
    fewer = replace(original, data=replace(original.data, test=original.data.test.first(60)))
    others = [
        search_key(replace(original, name="other"), SETTINGS),
        search_key(fewer, SETTINGS),
        search_key(original, replace(SETTINGS, recipes=(HALF,))),
        search_key(original, replace(SETTINGS, tolerance=Tolerance(max_drop_points=3.0))),
        search_key(original, replace(SETTINGS, budget_minutes=6)),
    ]
    assert len({key, *others}) == 6


def test_what_is_far_outside_of_the_tolerance_is_stopped_before_it_is_measured(bundle_dir: Path) -> None:
    original = onnx_alone(bundle_dir)
    source = original.reference
    early = EarlyStop(source, original.data.test, Tolerance(max_drop_points=1.0))
    early.watch(source, ())
    worse = source.with_content(_turned(source.content))
    with pytest.raises(StoppedEarlyError, match=r"points lost on 4\d\d samples, 1 are allowed"):
        early.watch(worse, ())
    early.watch(worse, (Distil(),))  # which may win it back


def test_a_recipe_that_was_refused_at_its_end_is_not_known_under_the_next_one_s_name(bundle_dir: Path) -> None:
    source = onnx_alone(bundle_dir).reference
    early = EarlyStop(source, onnx_alone(bundle_dir).data.test, Tolerance(max_drop_points=100))
    early.begin()
    early.watch(source, ())  # and is refused by what is measured
    early.begin()
    early.finished("cached")
    early.begin()
    early.watch(source.with_content(_turned(source.content)), ())  # worse, and the first that is known


def test_a_technique_with_settings_of_training_trains_whether_or_not_it_needs_samples_for_it() -> None:
    with_settings = {name_of(one) for one in ALL if "training" in one.model_fields or "epochs" in one.model_fields}
    assert {name_of(one) for one in ALL if one.trains} == with_settings
    assert {name_of(one) for one in ALL if one.needs_train} <= with_settings


def _turned(content: bytes) -> bytes:
    """Return the network with the order of its classes turned round."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(content)
    for tensor in proto.graph.initializer:
        if tensor.dims and tensor.dims[-1] == 10:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[..., ::-1].copy(), tensor.name))
    return proto.SerializeToString()
