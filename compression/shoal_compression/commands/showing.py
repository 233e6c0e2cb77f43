"""Shows results of recipes and of searches as tables."""

from pathlib import Path

from shoal_compression.commands.printing import table
from shoal_compression.recipe_result import RecipeReport
from shoal_compression.report_page import figure_rows
from shoal_compression.search.candidates import Candidate
from shoal_compression.search.result import SearchReport

_MOST_LAYERS = 8


def show_report(report: RecipeReport, folder: Path) -> None:
    """Print a recipe's figures beside the source's, its slices, and the layers that lose the most."""
    verdict = report.verdict
    state = "within its tolerance" if verdict.is_within else "outside of its tolerance"
    rows = figure_rows(report.source, report.variant)
    table(f"{report.recipe}: {state}", ["", "source", "variant", "of the source"], rows)
    if verdict.slices:
        slices = [[one.slice, str(one.samples), f"{one.source:.2%}", f"{one.variant:.2%}"] for one in verdict.slices]
        table("Accuracy by slice", ["slice", "samples", "source", "variant"], slices)
    worst = sorted(verdict.layers, key=lambda layer: layer.own_sqnr_db)[:_MOST_LAYERS]
    if worst:
        layers = [[one.name, one.operator, f"{one.own_sqnr_db:.1f}", f"{one.sqnr_db:.1f}"] for one in worst]
        table("Layers that lose the most", ["layer", "operator", "dB alone", "dB from the input"], layers)
    steps = [
        [one.technique, one.precision, f"{one.size_bytes / 1000:,.1f}", f"{one.seconds:.1f}"]
        for one in report.lineage.steps
    ]
    table(str(folder), ["step", "precision", "KB", "seconds"], steps)


def show_search(report: SearchReport, chosen: Candidate | None = None) -> None:
    """Print the candidates of each target, those of the front marked, and what was refused."""
    for target, front in report.fronts.items():
        on_front = {one.recipe_sha256 for one in front}
        mine = sorted(
            (one for one in report.candidates if one.target == target), key=lambda one: one.measures.size_bytes
        )
        columns = ["recipe", "front", "KB", "p50 ms", "memory MB", "points lost"]
        rows = [_row(one, is_best=one.recipe_sha256 in on_front, is_chosen=one == chosen) for one in mine]
        table(f"{report.name} for {target}", columns, rows)
    if report.refused:
        table("Refused", ["recipe", "why"], [[name, why[:160]] for name, why in sorted(report.refused.items())])


def _row(one: Candidate, *, is_best: bool, is_chosen: bool) -> list[str]:
    measures = one.measures
    return [
        one.name,
        "chosen" if is_chosen else "yes" if is_best else "",
        f"{measures.size_bytes / 1000:,.1f}",
        "" if measures.latency_p50_ms is None else f"{measures.latency_p50_ms:.3f}",
        "" if measures.memory_bytes is None else f"{measures.memory_bytes / 1e6:.2f}",
        "" if one.drop_points is None else f"{one.drop_points:.2f}",
    ]
