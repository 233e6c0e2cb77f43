"""`techniques` and `recipes`: what there is."""

from typing import Annotated

import typer

from shoal_compression.commands import arguments, printing
from shoal_compression.recipe_files import builtin_recipes, find_recipe, write_recipe
from shoal_compression.search.space import kind_of
from shoal_compression.technique import Technique
from shoal_compression.techniques import ALL, name_of


def techniques(*, json_: arguments.Json = False) -> None:
    """List the techniques, with what a recipe may set of each."""
    if json_:
        printing.result([_described(one) for one in ALL])
        return
    for one in sorted(ALL, key=lambda kind: (kind_of(kind), name_of(kind))):
        about = _described(one)
        typer.echo(f"{about['name']}  ({about['kind']}; takes {', '.join(one.takes)})")
        typer.echo(f"    {about['about']}")
        for name, field in one.model_fields.items():
            if name != "technique":
                typer.echo(f"    {name}: {field.get_default(call_default_factory=True)!r}")


def _described(technique: type[Technique]) -> dict[str, object]:
    return {
        "name": name_of(technique),
        "kind": kind_of(technique),
        "about": (technique.__doc__ or "").strip().splitlines()[0],
        "takes": sorted(technique.takes),
        "gives": technique.gives,
        "trains": technique.trains,
        "needs_train": technique.needs_train,
        "parameters": technique.model_json_schema()["properties"],
    }


@printing.says_errors
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one as YAML; a name or a file.")] = None,
    json_: arguments.Json = False,
) -> None:
    """List the built-in recipes, or print one."""
    if name is not None:
        found = find_recipe(name)
        if json_:
            printing.result(found.model_dump(mode="json") | {"sha256": found.sha256})
        else:
            typer.echo(write_recipe(found), nl=False)
        return
    known = builtin_recipes().values()
    if json_:
        printing.result([one.model_dump(mode="json") | {"sha256": one.sha256} for one in known])
        return
    rows = [[one.name, " → ".join(step.name for step in one.steps), one.description] for one in known]
    printing.table("Recipes", ["name", "steps", "for"], rows)
