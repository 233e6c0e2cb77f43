"""`run`: a recipe on a model."""

from pathlib import Path
from typing import Annotated

import typer

from shoal_compression.commands import arguments, printing
from shoal_compression.commands.showing import show_report
from shoal_compression.original import read_original
from shoal_compression.recipe_files import find_recipe
from shoal_compression.running_recipes import run_recipe


@printing.says_errors
def run(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe's name, or a .yaml or .json file.")],
    model: arguments.ModelPath,
    out: Annotated[Path, typer.Option(help="Folder for steps and results; what is there already is found.")],
    calibration: arguments.Calibration = None,
    test: arguments.Test = None,
    train: arguments.Train = None,
    threads: arguments.Threads = 1,
    where: arguments.Where = "best",
    json_: arguments.Json = False,
) -> None:
    """Run a recipe, verify and measure what it has made; outside of its tolerance it is refused."""
    wanted = find_recipe(recipe)
    original = read_original(model, calibration, test, train)
    with printing.progress(is_json=json_) as tell:
        made = run_recipe(
            wanted,
            original.start(wanted),
            original.data,
            out,
            reference=original.reference,
            threads=threads,
            accelerator=arguments.accelerator(where),
            progress=tell,
        )
    if json_:
        about = {"file": str(made.path), "was_cached": made.was_cached}
        printing.result(made.report.model_dump(mode="json") | about)
    else:
        show_report(made.report, made.folder)
    made.accepted()
