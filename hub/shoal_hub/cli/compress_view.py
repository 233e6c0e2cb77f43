"""Draws compression runs and reports."""

from collections.abc import Sequence
from typing import Any

from shoal_client.compression import Candidate, CompressionChoice, CompressionDetail, CompressionRun
from shoal_hub.cli.output import console, facts, size_text, table

_MOST_LAYERS = 10


def draw_runs(runs: Sequence[CompressionRun]) -> None:
    """Draw a list of runs."""
    rows = [
        (
            one.id,
            one.kind,
            f"{one.model} {one.version}",
            one.state,
            one.progress or one.reason,
            ", ".join(f"{name} for {target}" for target, name in one.chosen.items()),
            one.created_by,
            one.created_at,
        )
        for one in runs
    ]
    columns = ("ID", "KIND", "MODEL", "STATE", "PROGRESS", "CHOSEN", "BY", "STARTED")
    table(columns, rows, empty="No run yet: shoal compress run MODEL --recipe float16")


def draw_run(run: CompressionDetail) -> None:
    """Draw a run: its files, its devices, and the choice for each target class."""
    said = [("run", run.id), ("kind", run.kind), ("model", f"{run.model} version {run.version}"), ("state", run.state)]
    facts([*said, ("progress", run.progress), ("reason", run.reason), ("by", run.created_by)])
    rows = [
        (
            one.name,
            one.runtime,
            one.precision,
            size_text(one.size_bytes),
            _number(one.drop_points, ".2f"),
            f"{one.agreement:.2%}",
            _number(one.latency_p50_ms, ".3g"),
            "found" if one.was_found else "made",
        )
        for one in run.results
    ]
    columns = ("FILE", "RUNTIME", "PRECISION", "SIZE", "POINTS LOST", "AGREES", "MS AT THE HUB", "")
    table(columns, rows, empty="No file has been made yet.")
    for name, why in run.refused.items():
        console.print(f"refused {name}: {why}", markup=False)
    devices = [
        (one.device_id, one.hardware, one.outcome, one.problem["message"] if one.problem else "") for one in run.devices
    ]
    if devices:
        table(("DEVICE", "BOARD", "OUTCOME", "PROBLEM"), devices, empty="")
    for choice in run.choices:
        _draw_choice(choice)


def _draw_choice(choice: CompressionChoice) -> None:
    chosen = f"{choice.chosen} as {choice.target}" if choice.chosen else "nothing"
    console.print(f"\n{choice.target_class}: {chosen}, {_basis(choice)}", markup=False)
    if choice.reason:
        console.print(choice.reason, markup=False)
    rows = [
        (
            one.name,
            size_text(one.measures.size_bytes),
            _latency(choice, one),
            "" if one.measures.memory_bytes is None else size_text(one.measures.memory_bytes),
            _number(one.measures.accuracy, ".4f"),
            _number(one.drop_points, ".2f"),
            "chosen" if one.name == choice.chosen else "on the front" if one.name in choice.front else "",
        )
        for one in choice.candidates
    ]
    table(("CANDIDATE", "SIZE", "MS", "MEMORY", "ACCURACY", "POINTS LOST", ""), rows, empty="No candidate.")
    if unknown := sorted({kind for one in choice.predicted.values() for kind in one.unknown}):
        console.print(f"little is known of {', '.join(unknown)}: predicted by operators of all kinds", markup=False)
    for name, why in choice.left_out.items():
        console.print(f"left out {name}: {why}", markup=False)


def draw_latencies(name: str, choices: Sequence[CompressionChoice]) -> None:
    """Draw what a file takes on each target class, and how that is known."""
    rows = [
        (choice.target_class, _latency(choice, one), _basis(choice))
        for choice in choices
        for one in choice.candidates
        if one.name == name
    ]
    table(("CLASS", "MS", "HOW IT IS KNOWN"), rows, empty="Nothing is known of any target class yet.")


def _basis(choice: CompressionChoice) -> str:
    if choice.basis == "devices":
        return f"measured on {', '.join(choice.devices)}"
    if choice.basis != "predicted":
        return "measured on the hub's machine"
    boards = "; ".join(
        f"{board} by {error.files} files with a median error of {error.median:.0%}, at worst {error.worst:.0%}"
        for board, error in sorted(choice.errors.items())
    )
    return f"latency predicted for {boards}; all else measured on the hub's machine"


def _latency(choice: CompressionChoice, candidate: Candidate) -> str:
    found = _number(candidate.measures.latency_p50_ms, ".3g")
    predicted = choice.predicted.get(candidate.name)
    if predicted is None:
        return found
    return f"{found} ({predicted.low_ms:.3g} to {predicted.high_ms:.3g})"


def draw_report(name: str, report: dict[str, Any]) -> None:
    """Draw the report of one file."""
    verdict, lineage = report["verdict"], report["lineage"]
    facts(
        [
            ("file", name),
            ("outcome", verdict["outcome"]),
            ("points lost", _number(verdict.get("drop_points"), ".2f")),
            ("agreement", f"{verdict['agreement']:.2%}"),
            ("SQNR", f"{verdict['sqnr_db']:.1f} dB"),
            ("recipe", lineage["recipe_sha256"]),
            ("source", lineage["source_sha256"]),
            ("data", lineage["data_fingerprint"]),
            ("seed", lineage["seed"]),
            ("tools", ", ".join(f"{tool} {version}" for tool, version in sorted(lineage["tool_versions"].items()))),
        ]
    )
    steps = [(one["technique"], one["precision"], size_text(one["size_bytes"])) for one in lineage["steps"]]
    table(("STEP", "PRECISION", "SIZE"), steps, empty="")
    worst = sorted(verdict["layers"], key=lambda one: one["own_sqnr_db"])[:_MOST_LAYERS]
    layers = [(one["name"], one["operator"], f"{one['own_sqnr_db']:.1f} dB") for one in worst]
    table(("LAYER", "OPERATOR", "ITS OWN SQNR"), layers, empty=verdict["layers_note"] or "Layers were not told apart.")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
