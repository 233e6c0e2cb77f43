"""Files keep the form that the project has agreed on: size, names, layout."""

import ast
from pathlib import Path

_MOST_LINES = 500
_VAGUE_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
_PACKAGE_FOLDERS = ["contract", "numerics", "agent", "hub", "compression", "training", "client"]


def test_no_python_file_is_longer_than_500_lines(root: Path, python_files: list[Path]) -> None:
    lengths = {str(path): len((root / path).read_text().splitlines()) for path in python_files}
    assert {path: length for path, length in lengths.items() if length > _MOST_LINES} == {}


def test_no_file_or_folder_has_a_name_that_says_nothing(files: list[Path]) -> None:
    named = {(path, part) for path in files for part in [*path.parts[:-1], path.stem]}
    assert {str(path) for path, part in named if _VAGUE_NAMES & set(part.lower().split("_"))} == set()


def test_no_top_level_folder_is_a_package_that_could_shadow_the_standard_library(root: Path) -> None:
    # Python 3.14 has a standard package named `compression`; bz2 and gzip import from it.
    assert [folder for folder in _PACKAGE_FOLDERS if (root / folder / "__init__.py").exists()] == []


def test_every_module_says_what_it_is_for(root: Path, python_files: list[Path]) -> None:
    sources = [path for path in python_files if path.parts[0] in _PACKAGE_FOLDERS]
    assert sources
    assert [str(path) for path in sources if not ast.get_docstring(ast.parse((root / path).read_text()))] == []


def test_every_package_tells_type_checkers_that_it_is_typed(root: Path) -> None:
    packages = [path for folder in _PACKAGE_FOLDERS for path in (root / folder).glob("shoal_*") if path.is_dir()]
    assert [path.name for path in packages if not (path / "py.typed").exists()] == []
