"""No module imports itself by way of others, not even inside a function."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

_PACKAGE_FOLDERS = ["contract", "numerics", "agent", "hub", "compression", "training", "client"]


def test_no_modules_import_each_other_in_a_circle(root: Path) -> None:
    packages = [path.parent.name for name in _PACKAGE_FOLDERS for path in (root / name).glob("shoal_*/__init__.py")]
    graph = grimp.build_graph(*packages, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > len(packages)
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail("imports run in a circle: " + " <- ".join(error.args[1]))
