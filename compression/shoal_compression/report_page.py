"""Writes a result's report as Markdown and as one HTML page, with the picture of what each layer loses."""

import base64
import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from shoal_compression.measures import Measures
from shoal_compression.recipe_result import RecipeReport
from shoal_compression.sensitivity_plot import draw_sensitivity

MARKDOWN: Final = "report.md"
PAGE: Final = "report.html"
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2933}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .8rem;border-bottom:1px solid #d9dee3}"
    "td:not(:first-child),th:not(:first-child){text-align:right;font-variant-numeric:tabular-nums}"
    "th{text-align:left;font-weight:600}img{max-width:100%}code{font-size:.85em;overflow-wrap:anywhere}"
)

Rows = Sequence[Sequence[str]]


def write_pages(report: RecipeReport, folder: Path) -> None:
    """Write `report.md`, `report.html` and the pictures."""
    title = f"{report.recipe}: what each layer keeps"
    pictures = draw_sensitivity(report.verdict.layers, title, folder)
    (folder / MARKDOWN).write_text(markdown(report, pictures))
    (folder / PAGE).write_text(page(report, (folder / pictures[1]).read_bytes() if pictures else None))


def markdown(report: RecipeReport, pictures: Sequence[str] = ()) -> str:
    """Return the report as Markdown."""
    parts = [f"# {report.recipe}\n", *(f"{line}\n" for line in _summary(report))]
    for heading, rows in _tables(report):
        head, *rest = [" | ".join(_escaped(cell) for cell in row) for row in rows]
        line = " | ".join(["---", *("---:" for _ in rows[0][1:])])
        parts.append(
            "\n".join([f"## {heading}\n", f"| {head} |", f"| {line} |", *(f"| {one} |" for one in rest)]) + "\n"
        )
    parts += [f"![What each layer keeps]({name})\n" for name in pictures[:1]]
    return "\n".join(parts)


def page(report: RecipeReport, picture: bytes | None = None) -> str:
    """Return the report as an HTML page, whole in itself: the picture (SVG) is a part of it."""
    body = [f"<h1>{html.escape(report.recipe)}</h1>", *(f"<p>{html.escape(line)}</p>" for line in _summary(report))]
    for heading, rows in _tables(report):
        body.append(f"<h2>{html.escape(heading)}</h2><table>")
        for place, row in enumerate(rows):
            cell = "th" if place == 0 else "td"
            body.append("<tr>" + "".join(f"<{cell}>{html.escape(one)}</{cell}>" for one in row) + "</tr>")
        body.append("</table>")
    if picture is not None:
        source = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
        body.append(f'<img src="{source}" alt="What each layer keeps">')
    head = f'<meta charset="utf-8"><title>{html.escape(report.recipe)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _summary(report: RecipeReport) -> Iterator[str]:
    verdict = report.verdict
    yield "Within its tolerance." if verdict.is_within else f"Refused: {'; '.join(verdict.reasons)}."
    if verdict.blamed:
        yield f"The layers that lose the most: {', '.join(verdict.blamed)}."
    if verdict.layers_note:
        yield f"Note: {verdict.layers_note}."
    if verdict.drop_points is not None and verdict.drop_low is not None and verdict.drop_high is not None:
        yield (
            f"Points of accuracy lost: {verdict.drop_points:.2f} (95 % interval {verdict.drop_low:.2f} to "
            f"{verdict.drop_high:.2f}, {verdict.samples} samples)."
        )


def _tables(report: RecipeReport) -> Iterator[tuple[str, Rows]]:
    yield "Figures", [["", "source", "variant", "of the source"], *figure_rows(report.source, report.variant)]
    if report.verdict.slices:
        yield (
            "Accuracy by slice",
            [
                ["slice", "samples", "source", "variant"],
                *(
                    [one.slice, str(one.samples), f"{one.source:.2%}", f"{one.variant:.2%}"]
                    for one in report.verdict.slices
                ),
            ],
        )
    yield (
        "Steps",
        [
            ["step", "parameters", "bytes", "compressed", "seconds"],
            *(
                [
                    one.technique,
                    ", ".join(f"{key}={value}" for key, value in one.parameters.items()),
                    f"{one.size_bytes:,}",
                    f"{one.gzip_bytes:,}",
                    f"{one.seconds:.1f}" + (", cut short by its budget" if one.was_cut else ""),
                ]
                for one in report.lineage.steps
            ),
        ],
    )
    if report.verdict.layers:
        yield (
            "Layers",
            [
                ["layer", "operator", "dB from the input", "dB alone"],
                *(
                    [one.name, one.operator, f"{one.sqnr_db:.1f}", f"{one.own_sqnr_db:.1f}"]
                    for one in report.verdict.layers
                ),
            ],
        )
    lineage = report.lineage
    yield (
        "Lineage",
        [
            ["of", "is"],
            ["source", lineage.source_sha256],
            ["file", lineage.steps[-1].sha256],
            ["recipe", lineage.recipe_sha256],
            ["data", lineage.data_fingerprint],
            ["seed", str(lineage.seed)],
            *([tool, version] for tool, version in sorted(lineage.tool_versions.items())),
        ],
    )


def figure_rows(source: Measures, variant: Measures) -> list[list[str]]:
    """Return a row for each figure that either has: its name, both values, and their ratio."""
    rows = []
    for name, field, scale, form in _FIGURES:
        before, after = getattr(source, field), getattr(variant, field)
        if before is None and after is None:
            continue
        shown = ["" if value is None else format(value * scale, form) for value in (before, after)]
        ratio = f"{after / before:.0%}" if before and after is not None else ""
        rows.append([name, *shown, ratio])
    return rows


_FIGURES: Final = (
    ("file, KB", "size_bytes", 1e-3, ",.1f"),
    ("compressed, KB", "gzip_bytes", 1e-3, ",.1f"),
    ("weights, KB", "weights_bytes", 1e-3, ",.1f"),
    ("latency p50, ms", "latency_p50_ms", 1, ".3f"),
    ("latency p95, ms", "latency_p95_ms", 1, ".3f"),
    ("memory, MB", "memory_bytes", 1e-6, ".2f"),
    ("energy a request, mJ", "energy_mj", 1, ".3f"),
    ("operations, million MACs", "macs", 1e-6, ",.3f"),
    ("accuracy, %", "accuracy", 100, ".2f"),
    ("agreement, %", "agreement", 100, ".2f"),
)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
