"""Recipes as data: what is taken, what is refused and how, and by what they are known."""

import json
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shoal_compression.errors import RecipeError
from shoal_compression.recipe import Recipe, RecipeData, Tolerance, make_recipe
from shoal_compression.recipe_files import builtin_recipes, find_recipe, read_recipe, write_recipe
from shoal_compression.techniques import ALL
from shoal_compression.values import canonical_json

STEPS = [one for one in ALL if "onnx" in one.takes and one.gives in {None, "onnx"}]
NAMES = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)
RECIPES = st.builds(
    Recipe,
    name=NAMES,
    description=st.text(max_size=30),
    steps=st.lists(st.sampled_from(STEPS).map(lambda kind: kind()), min_size=1, max_size=3).map(tuple),
    data=st.builds(RecipeData, calibration_samples=st.none() | st.integers(1, 10_000)),
    budget_minutes=st.floats(0.01, 1_000),
    seed=st.integers(0, 2**32 - 1),
    targets=st.lists(NAMES, max_size=2).map(tuple),
    tolerance=st.builds(Tolerance, max_drop_points=st.none() | st.floats(0, 100)),
)


@settings(max_examples=25)
@given(RECIPES)
@example(make_recipe({"name": "a", "steps": ["float16"], "description": "a\x85b\u2028c é"}))
def test_a_recipe_comes_back_from_yaml_and_from_json_with_its_hash(recipe: Recipe) -> None:
    for text in (write_recipe(recipe), recipe.model_dump_json(indent=1), recipe.model_dump_json()):
        again = read_recipe(text)
        assert again == recipe
        assert again.sha256 == recipe.sha256


@settings(max_examples=25)
@given(RECIPES, NAMES)
def test_the_hash_is_of_what_decides_the_result(recipe: Recipe, name: str) -> None:
    assert recipe.named(name).sha256 == recipe.sha256
    other = recipe.model_copy(update={"seed": (recipe.seed + 1) % 2**32})
    assert other.sha256 != recipe.sha256


@settings(max_examples=25)
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: object) -> None:
    turned = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert canonical_json(value) == canonical_json(turned)
    assert json.loads(canonical_json(value)) == value


def test_a_number_that_is_none_has_no_canonical_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_json_may_be_indented_by_tabs() -> None:
    text = '{\n\t"name": "small",\n\t"steps": [{"technique": "float16"}]\n}'
    assert read_recipe(text) == make_recipe({"name": "small", "steps": ["float16"]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name: a\nsteps:\n  - technique: float16\n    bits: 3\n",
            r"r\.yaml, line 4: steps\.1\.bits: there is no such",
        ),
        ("name: a\nseed: 1\n", r"line 1: steps: it is missing; add it"),
        ("name: a\nsteps: []\n", r"line 2: steps: 0 found, expected at least 1; add"),
        (
            "name: a\nsteps:\n\n  - flaot16\n",
            r"line 4: steps\.1: no technique is called 'flaot16'; did you mean float16[^,]*\? .* techniques` lists all",
        ),
        ("name: a\nsteps: [float16]\nseed: -1\n", r"line 3: seed: '-1' found, expected at least 0; give such"),
        ("name: A B\nsteps: [float16]\n", r"line 1: name: 'A B' found, expected small letters.*; rename it"),
        ("name: a\nsteps: [float16]\nspeed: warp\n", r"line 3: speed: there is no such field"),
        (
            "name: a\nsteps: [float16]\ntolerance: {min_sqnr_db: .nan}\n",
            r"tolerance\.min_sqnr_db: 'nan' found, .*; give one",
        ),
        ("name: a\nsteps: [{technique: distil, training: {hard: .inf}}]\n", r"hard: 'inf' found, expected"),
        ("name: a\nsteps: [{technique: int8-static, calibration: max}]\n", r"'mse' or 'entropy'; take one of them"),
        (
            "name: a\nsteps: [{technique: litert-mixed, rules: [{operators: " + "A" * 65 + "}]}]\n",
            r"operators: 'A+' found, expected at most 64 characters; shorten it",
        ),
        ("name: a\nsteps: [float16]\nseed: x\n", r"seed: 'x' found, expected a whole number; give one"),
        ("name: a\nsteps: float16\n", r"steps: 'float16' found, expected a list; write it as \[one, another\]"),
        ("name: a\nname: b\nsteps: [float16]\n", r"line 2: name stands there twice; keep one"),
        ("name: a\nsteps: [float16]\ndata:\n  test_samples: 0\n", r"line 4: data\.test_samples: '0' found"),
        (
            "name: &n a\ndescription: *n\nsteps: [float16]\n",
            r"line 1: there is an alias of what stands here; write it out",
        ),
        ("name: a\nsteps: [float16\n", r"line 3: .*; write a recipe as YAML or JSON"),
        ("- float16\n", r"line 1: expected a mapping of fields, as a recipe is"),
        ("", r"line 1: expected a mapping"),
        ("[" * 5_000 + "]" * 5_000, r"nested too deeply"),
        ("name: 2020-99-99\n", r"write it between quotes"),
        ("a: " + "x" * 70_000, r"more than 65536 bytes"),
    ],
)
def test_what_is_wrong_is_said_with_line_field_and_remedy(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_recipe(text, "r.yaml")


def test_steps_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"step 2, to-onnx, takes keras, but gets onnx; put a step between them"):
        make_recipe({"name": "a", "steps": ["float16", "to-onnx"]})


def test_a_recipe_says_which_form_it_begins_with() -> None:
    assert make_recipe({"name": "a", "steps": ["to-onnx", "float16"]}).takes == {"keras"}


def test_built_in_recipes_are_found_by_their_names_which_are_those_of_their_files() -> None:
    assert "float16" in builtin_recipes()
    for name in builtin_recipes():
        assert find_recipe(name).name == name
        assert find_recipe(name).description


def test_a_recipe_that_is_nowhere_is_answered_with_what_there_is(tmp_path: object) -> None:
    with pytest.raises(RecipeError, match=r"finding the recipe 'flaot16': known are .*float16"):
        find_recipe("flaot16")
    with pytest.raises(RecipeError, match=r"reading .*none\.yaml: .*name a file"):
        find_recipe(f"{tmp_path}/none.yaml")
