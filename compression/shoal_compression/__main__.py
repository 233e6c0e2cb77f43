"""`python -m shoal_compression BUNDLE --out DIR`: makes the variants of a version and prints how they compare."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from shoal_compression.compress import TECHNIQUE_NAMES, compress, techniques_for
from shoal_compression.errors import CompressionError
from shoal_compression.report import CompressionReport

app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The folder that training wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the variants.")],
    technique: Annotated[
        list[str] | None,
        typer.Option(help=f"May be given several times; all that fit if left out: {', '.join(TECHNIQUE_NAMES)}."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write progress and result as JSON lines.")] = False,
) -> None:
    """Compress a bundle and compare the variants with the float32 original."""
    try:
        chosen = technique or techniques_for([path.name for path in bundle.iterdir()] if bundle.is_dir() else [])
        report = compress(bundle, chosen, out, _tell_json if json_ else _tell_person)
    except CompressionError as error:
        if json_:
            _write_line({"event": "error", "error": type(error).__name__, "message": str(error)})
        else:
            sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(1) from error
    if json_:
        _write_line({"event": "result", "result": report.model_dump(mode="json")})
    else:
        print_table(report)


def print_table(report: CompressionReport) -> None:
    """Print size, accuracy and latency of each variant against the original."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.name}: variants against the float32 original")
    table.add_column("variant", no_wrap=True)
    for column in ("KB", "of original", "accuracy", "points", "p50 ms", "p95 ms"):
        table.add_column(column, justify="right")
    original = report.original
    rows = [("float32 ONNX", original), *((variant.target, variant) for variant in report.variants)]
    for name, measured in rows:
        table.add_row(
            name,
            f"{measured.size_bytes / 1000:.1f}",
            f"{measured.size_bytes / original.size_bytes:.0%}",
            *_accuracy(measured.accuracy, original.accuracy),
            f"{measured.latency_ms.p50:.3f}",
            f"{measured.latency_ms.p95:.3f}",
        )
    Console().print(table)


def _accuracy(found: float | None, original: float | None) -> tuple[str, str]:
    if found is None or original is None:
        return "", ""
    return f"{found:.3f}", f"{(found - original) * 100:+.1f}"


def _tell_json(stage: str, done: int, total: int) -> None:
    _write_line({"event": "progress", "stage": stage, "done": done, "total": total})


def _tell_person(stage: str, done: int, total: int) -> None:
    sys.stderr.write(f"{stage} {done}/{total}\n")


def _write_line(event: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    app(prog_name="python -m shoal_compression")
