"""`report`: what a recipe or a search has written, again."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from shoal_compression.commands import arguments, printing
from shoal_compression.commands.search import say, say_choice
from shoal_compression.commands.showing import show_report
from shoal_compression.errors import SourceError
from shoal_compression.recipe_result import RecipeReport
from shoal_compression.running_recipes import REPORT_FILE, RESULTS
from shoal_compression.search.result import REPORT_FILE as SEARCH_FILE
from shoal_compression.search.result import SearchReport


@printing.says_errors
def report(
    folder: Annotated[Path, typer.Argument(help="Of a search, of a result, or what `run` was given with --out.")],
    max_latency_ms: arguments.MaxLatency = None,
    max_drop: arguments.MaxDrop = None,
    max_size_kb: arguments.MaxSize = None,
    max_memory_mb: arguments.MaxMemory = None,
    target: arguments.Target = None,
    json_: arguments.Json = False,
) -> None:
    """Print the report in a folder; of a search, choose by other constraints."""
    wanted = arguments.constraints(max_latency_ms, max_drop, max_size_kb, max_memory_mb)
    if (folder / SEARCH_FILE).is_file():
        found = SearchReport.read(folder)
        if wanted is None:
            say(found, folder, None, is_json=json_)
        else:
            say_choice(found, folder, found.choose(wanted, target=target), is_json=json_)
        return
    if wanted is not None or target is not None:
        raise SourceError(f"choosing in {folder}: it holds results of recipes and no search; leave constraints out")
    for place in _results(folder):
        told = _read(place / REPORT_FILE)
        if json_:
            printing.result(told.model_dump(mode="json"))
        else:
            show_report(told, place)


def _results(folder: Path) -> list[Path]:
    if (folder / REPORT_FILE).is_file():
        return [folder]
    found = sorted(path.parent for path in (folder / RESULTS).glob(f"*/{REPORT_FILE}"))
    if not found:
        raise SourceError(f"reading {folder}: no report in it; name the folder of a search or of a result")
    return found


def _read(path: Path) -> RecipeReport:
    try:
        return RecipeReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise SourceError(f"reading {path}: it is no report of a recipe; run the recipe again") from error
