"""The annotated tree of docs/architecture.md shows the folders that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("contract", "numerics", "agent", "hub", "compression", "training", "client")
_ENTRY = re.compile(r"^( *)([\w./-]+/) +(\S.*)$")


@pytest.fixture(scope="module")
def tree() -> dict[str, str]:
    """Every folder of the annotated tree, from the repository's root, with its note."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = text.partition("```text\n")[2].partition("```")[0]
    entries: dict[str, str] = {}
    parent = ""
    for line in block.splitlines():
        match = _ENTRY.match(line)
        assert match, f"not an entry of the tree: {line!r}"
        indent, folder, note = match.groups()
        parent = parent if indent else folder
        entries[f"{parent}{folder}" if indent else folder] = note
    return entries


def _folders(parent: Path) -> list[Path]:
    """Folders that hold source, without caches."""
    return [path for path in parent.iterdir() if path.is_dir() and any(path.rglob("*.py"))]


def test_every_package_is_in_the_tree(tree: dict[str, str]) -> None:
    packages = [path for top in PACKAGES if (ROOT / top).exists() for path in _folders(ROOT / top)]
    assert packages
    assert {f"{path.relative_to(ROOT)}/" for path in packages} - tree.keys() == set()


def test_every_top_level_folder_of_source_is_in_the_tree(tree: dict[str, str]) -> None:
    tops = {path.parts[0] for path in map(Path, tree)}
    found = {path.name for path in _folders(ROOT) if not path.name.startswith(".") and path.name != "build"}
    assert found - tops == set()


@pytest.mark.parametrize("package", ["hub/shoal_hub", "agent/shoal_agent"])
def test_every_feature_folder_is_in_the_tree(tree: dict[str, str], package: str) -> None:
    features = {f"{path.relative_to(ROOT)}/" for path in _folders(ROOT / package)}
    assert features - tree.keys() == set()
