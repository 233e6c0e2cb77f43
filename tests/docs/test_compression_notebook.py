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
MINUTES = 0.5
"""Of its search; a reader's takes longer."""


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
    assert "\nMINUTES = 5\n" in script
    script = script.replace("\nMINUTES = 5\n", f"\nMINUTES = {MINUTES}\n")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=380
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "accuracy 0.9" in done.stdout
    assert "the layers that lose the most are" in done.stdout
    assert re.search(r"chosen: \S+", done.stdout)
    assert (tmp_path / "build" / "compression" / "search" / "front.png").is_file()


def test_recipes_that_the_guide_shows_are_taken() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert shown
    for text in shown:
        assert read_recipe(text).steps


def test_the_guide_names_every_built_in_recipe() -> None:
    assert {name for name in builtin_recipes() if f"`{name}`" not in GUIDE} == set()
