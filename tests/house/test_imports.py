"""No module imports itself by way of others, and the import rules forget no part of the hub."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
import tomllib

_PACKAGE_FOLDERS = ["contract", "numerics", "agent", "hub", "compression", "training", "client"]
# Errors' root and the form of ids: no part of the hub's inside.
_ALSO_FOR_THE_CLI = {"errors", "ids", "words"}


def test_no_modules_import_each_other_in_a_circle(root: Path) -> None:
    packages = [path.parent.name for name in _PACKAGE_FOLDERS for path in (root / name).glob("shoal_*/__init__.py")]
    graph = grimp.build_graph(*packages, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > len(packages)
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail("imports run in a circle: " + " <- ".join(error.args[1]))


def test_the_rule_for_the_cli_names_every_part_of_the_hub(root: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = next(contract["forbidden_modules"] for contract in contracts if contract["id"] == "cli-through-the-client")
    # Migrations are no package: Alembic loads them by path.
    parts = {path.stem for path in (root / "hub/shoal_hub").glob("*.py")}
    parts |= {path.parent.name for path in (root / "hub/shoal_hub").glob("*/__init__.py")}
    assert set(named) == {f"shoal_hub.{part}" for part in parts - {"__init__", "__main__", "cli", *_ALSO_FOR_THE_CLI}}
