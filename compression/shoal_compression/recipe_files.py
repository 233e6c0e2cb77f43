"""Recipes from files: strict YAML or JSON, whose errors name line and field, and those that come with this package."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from shoal_compression.errors import RecipeError
from shoal_compression.extras import says_extra
from shoal_compression.recipe import Recipe, make_recipe

FOLDER: Final = Path(__file__).parent / "recipes"
"""The built-in ones, a file each."""
MAX_BYTES: Final = 65_536
SUFFIXES: Final = (".yaml", ".yml", ".json")

Place = tuple[int | str, ...]


def read_recipe(text: str, source: str = "recipe") -> Recipe:
    """Read a recipe from YAML, of which JSON is a part.

    Args:
        text: What the file holds.
        source: Its name, for errors.

    Raises:
        RecipeError: It is no recipe; line and field are named.
    """
    if len(text.encode()) > MAX_BYTES:
        raise RecipeError(f"reading {source}: more than {MAX_BYTES} bytes; a recipe is a few lines, split it")
    fields, lines = _parsed(text, source)
    try:
        return make_recipe(fields, doing=f"reading {source}")
    except RecipeError as error:
        line = _line(lines, error.place)
        message = str(error).replace(f"reading {source}", f"reading {source}, line {line}", 1)
        raise RecipeError(message, error.place) from error


def find_recipe(name: str) -> Recipe:
    """Return the built-in recipe of this name, or the one in the file at this path (`.yaml`, `.yml`, `.json`).

    Raises:
        RecipeError: There is neither, or the file is no recipe.
    """
    built_in = builtin_recipes()
    if name in built_in:
        return built_in[name]
    path = Path(name)
    if path.suffix not in SUFFIXES:
        known = ", ".join(sorted(built_in))
        raise RecipeError(
            f"finding the recipe {name!r}: known are {known}; name one, or a {' or '.join(SUFFIXES)} file"
        )
    try:
        return read_recipe(path.read_text(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"reading {name}: {error}; name a file of text that holds a recipe") from error


@cache
def builtin_recipes() -> dict[str, Recipe]:
    """Return the recipes that come with this package, by name."""
    recipes = [read_recipe(path.read_text(), path.name) for path in sorted(FOLDER.glob("*.yaml"))]
    return {recipe.name: recipe for recipe in recipes}


def write_recipe(recipe: Recipe) -> str:
    """Return the YAML text that `read_recipe` reads as the same recipe."""
    with says_extra("writing a recipe"):
        import yaml

    is_plain = (
        recipe.description.isprintable()
    )  # PyYAML would write some breaks of lines as such, and read them as spaces
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=is_plain)
    return text


def _parsed(text: str, source: str) -> tuple[dict[str, Any], dict[Place, int]]:
    with says_extra(f"reading {source}"):
        import yaml

    from_json = _from_json(text)
    if from_json is not None:  # YAML is asked for the lines alone: it takes neither tabs nor all characters
        text = "".join(one if one == "\n" or one.isprintable() else " " for one in text)
    lines: dict[Place, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _note_lines(root, (), lines, source)
        fields = None if root is None else from_json or yaml.constructor.SafeConstructor().construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"reading {source}{line}: {reason}; write a recipe as YAML or JSON") from error
    except RecursionError as error:
        raise RecipeError(f"reading {source}: it is nested too deeply; a recipe is a mapping of fields") from error
    except ValueError as error:  # a date that is none, a number that is too long
        raise RecipeError(f"reading {source}: {error}; write it between quotes") from error
    if not isinstance(fields, dict):
        raise RecipeError(f"reading {source}, line 1: expected a mapping with name and steps; see the built-in recipes")
    return fields, lines


def _from_json(text: str) -> object:
    """Return what a JSON text holds; None: it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _note_lines(node: Any, place: Place, lines: dict[Place, int], source: str) -> None:  # noqa: ANN401 - PyYAML's
    """Note the line of each field.

    Raises:
        RecipeError: A field stands there twice, or as an alias of another: few lines could then mean a million values.
    """
    import yaml

    if hasattr(node, "seen"):
        line = node.start_mark.line + 1
        raise RecipeError(f"reading {source}, line {line}: there is an alias of what stands here; write it out", place)
    if node is not None:
        node.seen = True
    if isinstance(node, yaml.SequenceNode):
        for index, one in enumerate(node.value):
            within = (*place, index)
            lines[within] = one.start_mark.line + 1
            _note_lines(one, within, lines, source)
    if isinstance(node, yaml.MappingNode):
        for key, one in node.value:
            here, line = (*place, str(key.value)), key.start_mark.line + 1
            if here in lines:
                raise RecipeError(f"reading {source}, line {line}: {key.value} stands there twice; keep one", here)
            lines[here] = line
            _note_lines(one, here, lines, source)


def _line(lines: dict[Place, int], place: Place) -> int:
    """Return the line of a field, or of what it would belong to."""
    return next((lines[place[:length]] for length in range(len(place), 0, -1) if place[:length] in lines), 1)
