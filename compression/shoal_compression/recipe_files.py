"""Recipes from files: strict YAML or JSON, whose errors name line and field, and those that come with this package."""

from functools import cache
from pathlib import Path
from typing import Final

from shoal_compression.documents import SUFFIXES, DocumentError, read_document
from shoal_compression.errors import RecipeError
from shoal_compression.extras import says_extra
from shoal_compression.recipe import Recipe, make_recipe

FOLDER: Final = Path(__file__).parent / "recipes"
"""The built-in ones, a file each."""
MAX_BYTES: Final = 65_536


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
    try:
        found = read_document(text, f"reading {source}", "a recipe")
    except DocumentError as error:
        where = source if error.line is None else f"{source}, line {error.line}"
        raise RecipeError(f"reading {where}: {error.reason}", error.place) from error
    try:
        return make_recipe(found.fields, doing=f"reading {source}")
    except RecipeError as error:
        message = str(error).replace(f"reading {source}", f"reading {source}, line {found.line(error.place)}", 1)
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
