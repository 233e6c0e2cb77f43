"""Recipes from files: strict YAML or JSON, whose errors name line and field, and those that come with this package."""

from pathlib import Path

from shoal_compression.recipe import Recipe

FOLDER = Path(__file__).parent / "recipes"
"""The built-in ones, a file each."""


def read_recipe(text: str, source: str = "recipe") -> Recipe:
    """Read a recipe from YAML, of which JSON is a part.

    Args:
        text: What the file holds.
        source: Its name, for errors.

    Raises:
        RecipeError: It is no recipe; line and field are named.
    """
    raise NotImplementedError


def find_recipe(name: str) -> Recipe:
    """Return the built-in recipe of this name, or the one in the file at this path (`.yaml`, `.yml`, `.json`).

    Raises:
        RecipeError: There is neither, or the file is no recipe.
    """
    raise NotImplementedError


def builtin_recipes() -> dict[str, Recipe]:
    """Return the recipes that come with this package, by name."""
    raise NotImplementedError


def write_recipe(recipe: Recipe) -> str:
    """Return the YAML text that `read_recipe` reads as the same recipe."""
    raise NotImplementedError
