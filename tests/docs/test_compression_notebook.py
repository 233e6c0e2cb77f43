"""The notebook of compression runs from its first cell to its last, and its guide shows recipes that are taken."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoal_compression.recipe_files import builtin_recipes, read_recipe

ROOT = Path(__file__).parents[2]
NOTEBOOK: dict[str, Any] = json.loads((ROOT / "examples" / "compression.ipynb").read_text())
GUIDE = (ROOT / "docs" / "compression.md").read_text()
READERS, OURS = "MINUTES = 5", "MINUTES = 0.5"
"""Of its search."""


def _code() -> list[str]:
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_a_notebook_without_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    cells = NOTEBOOK["cells"]
    assert {cell["cell_type"] for cell in cells} == {"code", "markdown"}
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)


@pytest.mark.timeout(400)
def test_its_cells_run_one_after_the_other(tmp_path: Path) -> None:
    script = "\n\n".join(_code())
    assert script.count(READERS) == 1
    script = script.replace(READERS, OURS)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=380
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "accuracy 0.9" in done.stdout
    assert "the layers that lose the most are" in done.stdout
    assert re.search(r"chosen: \S+", done.stdout)
    assert (tmp_path / "build" / "compression" / "search" / "front.png").is_file()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_guide_s_python_runs_on_the_digits_that_it_makes_first(tmp_path: Path) -> None:
    script, *_ = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert script.count("budget_minutes=20") == 1
    script = script.replace("budget_minutes=20", "budget_minutes=0.2, max_trials=2")
    make = [sys.executable, "-m", "shoal_training.digits", "--out", "build/digits"]
    for command in (make, [sys.executable, "-c", f"{script}\nprint(file.name)"]):
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=190)
        assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.strip().endswith(".onnx")


def test_recipes_that_the_guide_shows_are_taken() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert shown
    for text in shown:
        assert read_recipe(text).steps


def test_the_guide_names_every_built_in_recipe() -> None:
    assert {name for name in builtin_recipes() if f"`{name}`" not in GUIDE} == set()
