"""What is said where a library is missing: which extra brings it, before any work is lost."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_compression.budget import Budget
from shoal_compression.errors import MissingLibraryError
from shoal_compression.extras import need, says_extra
from shoal_compression.model_files import read_model
from shoal_compression.original import Original, read_original
from shoal_compression.recipe import make_recipe
from shoal_compression.recipe_files import read_recipe
from shoal_compression.running import load
from shoal_compression.running_recipes import run_recipe
from shoal_compression.search.study import Study

CLASSIFY = tiny.FILES / "classify.onnx"


@pytest.fixture
def original(tmp_path: Path) -> Original:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    return read_original(CLASSIFY, tmp_path / "samples.npz")


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    for library in libraries:
        for loaded in [one for one in sys.modules if one == library or one.startswith(f"{library}.")]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, library, None)


def test_a_model_whose_runtime_is_missing_is_not_said_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_model(CLASSIFY)
    without(monkeypatch, "onnxruntime")
    with pytest.raises(MissingLibraryError, match=r"reading .*: the library onnxruntime is not .*shoal\[compress\]"):
        read_model(CLASSIFY)
    with pytest.raises(MissingLibraryError, match=r"loading an ONNX model of .* install shoal\[compress\]"):
        load(model)


def test_without_matplotlib_nothing_is_begun_that_would_be_lost(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "matplotlib")
    recipe, told = make_recipe({"name": "a", "steps": ["int8-dynamic"]}), list[str]()
    with pytest.raises(MissingLibraryError, match=r"matplotlib is not installed; install shoal\[compress\]"):
        run_recipe(
            recipe, original.reference, original.data, tmp_path / "out", progress=lambda one, *_: told.append(one)
        )
    assert told == []
    run_recipe(recipe, original.reference, original.data, tmp_path / "out", is_drawn=False)


def test_what_needs_torch_optuna_yaml_or_tensorflow_names_the_extra(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch", "optuna", "yaml", "tensorflow_model_optimization")
    with pytest.raises(MissingLibraryError, match=r"applying prune-magnitude: the library torch is not installed; "):
        make_recipe({"name": "a", "steps": ["prune-magnitude"]}).steps[0].apply(
            original.reference, original.data, Budget()
        )
    with pytest.raises(MissingLibraryError, match=r"searching: the library optuna .* shoal\[compress\]"):
        Study(tmp_path, ("size",), 0)
    with pytest.raises(MissingLibraryError, match=r"reading r\.yaml: the library yaml"):
        read_recipe("name: a", "r.yaml")
    with pytest.raises(MissingLibraryError, match=r"install shoal\[compress,tensorflow\]"):
        need("converting", "tensorflow_model_optimization")


def test_a_mistake_of_ours_is_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError), says_extra("doing"):
        import shoal_compression.nothing_of_this_name  # type: ignore[import-not-found]  # noqa: F401
    with (
        pytest.raises(MissingLibraryError, match=r"doing: libGL is not there; install shoal\[compress\]"),
        says_extra("doing"),
    ):
        raise ImportError("libGL is not there")
