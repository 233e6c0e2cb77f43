"""`search`: over recipes, for the front of the best of them, and a choice by constraint."""

from pathlib import Path
from typing import Annotated

import click
import typer

from shoal_compression.commands import arguments, printing
from shoal_compression.commands.showing import show_search
from shoal_compression.original import read_original
from shoal_compression.recipe import USUAL_DROP, Tolerance
from shoal_compression.recipe_files import find_recipe
from shoal_compression.search.candidates import OBJECTIVES, Candidate, Objective
from shoal_compression.search.result import SearchReport, SearchSettings
from shoal_compression.search.searching import search as search_recipes

_DEFAULT: tuple[Objective, ...] = ("size", "latency", "accuracy")


@printing.says_errors
def search(
    model: arguments.ModelPath,
    out: Annotated[Path, typer.Option(help="Folder of the search; an earlier one of the same model is continued.")],
    minutes: Annotated[
        float, typer.Option(min=0.1, callback=arguments.finite, help="Budget of all runs together.")
    ] = 20.0,
    recipe_minutes: Annotated[
        float,
        typer.Option(min=0.1, max=10_080, callback=arguments.finite, help="The most that one recipe may take."),
    ] = 5.0,
    trials: Annotated[int, typer.Option(min=1, help="The most that are tried.")] = 100,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            click_type=click.Choice(OBJECTIVES), help="Several times; size, latency and accuracy if left out."
        ),
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Tried first: a name or a file; several times.")] = None,
    tolerate: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            callback=arguments.finite,
            help="Points that any candidate may lose; --max-drop, at least 1, if left out.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    calibration: arguments.Calibration = None,
    test: arguments.Test = None,
    train: arguments.Train = None,
    threads: arguments.Threads = 1,
    where: arguments.Where = "best",
    max_latency_ms: arguments.MaxLatency = None,
    max_drop: arguments.MaxDrop = None,
    max_size_kb: arguments.MaxSize = None,
    max_memory_mb: arguments.MaxMemory = None,
    target: arguments.Target = None,
    json_: arguments.Json = False,
) -> None:
    """Search over recipes, print the front of each target, and choose by constraint where one is given."""
    lost = max(USUAL_DROP, max_drop or 0.0) if tolerate is None else tolerate
    settings = SearchSettings(
        objectives=tuple(one for one in OBJECTIVES if one in (objective or _DEFAULT)),
        budget_minutes=minutes,
        recipe_minutes=recipe_minutes,
        max_trials=trials,
        tolerance=Tolerance(max_drop_points=lost, min_agreement=1 - lost / 100),
        seed=seed,
        threads=threads,
        accelerator=arguments.accelerator(where),
        recipes=tuple(find_recipe(name) for name in recipe or ()),
    )
    original = read_original(model, calibration, test, train)
    with printing.progress(is_json=json_) as tell:
        found = search_recipes(original, out, settings, tell)
    wanted = arguments.constraints(max_latency_ms, max_drop, max_size_kb, max_memory_mb)
    if wanted is None:
        say(found.report, out, None, is_json=json_)
        return
    if not json_:
        show_search(found.report)
    say_choice(found.report, out, found.choose(wanted, target=target), is_json=json_)


def say(report: SearchReport, folder: Path, chosen: Candidate | None, *, is_json: bool) -> None:
    """Write a search's report, and what was chosen of it."""
    if not is_json:
        show_search(report, chosen)
        return
    fronts = {target: [one.model_dump(mode="json") for one in front] for target, front in report.fronts.items()}
    about = {"fronts": fronts, "chosen": None if chosen is None else _said(report, folder, chosen)}
    printing.result(report.model_dump(mode="json") | about)


def say_choice(report: SearchReport, folder: Path, chosen: Candidate, *, is_json: bool) -> None:
    """Write what was chosen, with its file; for a program with the report."""
    if is_json:
        say(report, folder, chosen, is_json=True)
        return
    said = _said(report, folder, chosen)
    typer.echo(f"chosen for {chosen.target}: {chosen.name} ({said['folder'] or 'the source as it is'})")


def _said(report: SearchReport, folder: Path, chosen: Candidate) -> dict[str, object]:
    place = report.results.get(chosen.recipe_sha256)
    return chosen.model_dump(mode="json") | {"folder": None if place is None else str(folder / place)}
