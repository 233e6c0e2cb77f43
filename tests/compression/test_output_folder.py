"""Folders that can not be written are told as such, before any work is done; one process may hold one."""

from pathlib import Path

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_compression.errors import OutputError, SearchError
from shoal_compression.original import Original, read_original
from shoal_compression.output_folder import held_alone, make_folder
from shoal_compression.recipe import make_recipe
from shoal_compression.running_recipes import run_recipe
from shoal_compression.search.searching import search
from shoal_compression.store import Store
from shoal_compression.unmodified import keep_unmodified


@pytest.fixture
def original(tmp_path: Path) -> Original:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    return read_original(tiny.FILES / "classify.onnx", tmp_path / "samples.npz")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("what stands where a folder should")
    return tmp_path / "file"


def test_a_recipe_whose_folder_can_not_be_made_is_refused_before_its_first_step(original: Original, file: Path) -> None:
    recipe, told = make_recipe({"name": "a", "steps": ["float16"]}), list[str]()
    for folder in (file, file / "inside"):
        with pytest.raises(OutputError, match=r"writing to .*; name a folder that can be written, with room"):
            run_recipe(recipe, original.reference, original.data, folder, progress=lambda one, *_: told.append(one))
    assert told == []


def test_a_search_whose_folder_can_not_be_made_is_refused(original: Original, file: Path) -> None:
    with pytest.raises(OutputError, match=r"writing to .*file: .*name a folder"):
        search(original, file)


def test_a_disk_that_is_full_is_told_by_the_store_which_keeps_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"writing to .*No space left on device; name a folder .* with room"):
        Store(tmp_path / "store").put("key", write)
    assert list((tmp_path / "store").iterdir()) == []


def test_a_report_of_a_search_that_can_not_be_written_is_told(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="No space left on device; name a folder"):
        search(original, tmp_path / "out")


def test_a_bundle_that_is_kept_as_it_is_says_where_it_can_not(bundle_dir: Path, file: Path) -> None:
    with pytest.raises(OutputError, match=r"writing to .*; name a folder"):
        keep_unmodified(bundle_dir, file)


def test_a_folder_is_held_by_one_until_it_lets_go(tmp_path: Path) -> None:
    with held_alone(tmp_path) as first, held_alone(tmp_path) as second:
        assert (first, second) == (True, False)
    with held_alone(tmp_path) as again:
        assert again


def test_a_second_search_in_a_folder_is_refused_and_the_first_goes_on_undisturbed(
    original: Original, tmp_path: Path
) -> None:
    make_folder(tmp_path / "out")
    with held_alone(tmp_path / "out"):
        before = sorted((tmp_path / "out").iterdir())
        with pytest.raises(SearchError, match=r"another search in .*out is running; wait for its end, or name another"):
            search(original, tmp_path / "out")
        assert sorted((tmp_path / "out").iterdir()) == before
