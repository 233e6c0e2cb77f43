"""`variants`: what the hub's job makes of a bundle, and how the variants compare with the original."""

from pathlib import Path
from typing import Annotated

import typer

from shoal_compression.commands import arguments, printing
from shoal_compression.compress import TECHNIQUE_NAMES, compress, techniques_for
from shoal_compression.report import CompressionReport


@printing.says_errors
def variants(
    bundle: Annotated[Path, typer.Argument(help="The folder that training wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the variants.")],
    technique: Annotated[
        list[str] | None,
        typer.Option(help=f"May be given several times; all that fit if left out: {', '.join(TECHNIQUE_NAMES)}."),
    ] = None,
    json_: arguments.Json = False,
) -> None:
    """Compress a bundle and compare the variants with the float32 original."""
    chosen = technique or techniques_for([path.name for path in bundle.iterdir()] if bundle.is_dir() else [])
    with printing.progress(is_json=json_) as tell:
        report = compress(bundle, chosen, out, tell)
    if json_:
        printing.result(report.model_dump(mode="json"))
    else:
        print_table(report)


def print_table(report: CompressionReport) -> None:
    """Print size, accuracy and latency of each variant against the original."""
    original = report.original
    rows = [("float32 ONNX", original), *((variant.target, variant) for variant in report.variants)]
    printing.table(
        f"{report.name}: variants against the float32 original",
        ["variant", "KB", "of original", "accuracy", "points", "p50 ms", "p95 ms"],
        [
            [
                name,
                f"{measured.size_bytes / 1000:.1f}",
                f"{measured.size_bytes / original.size_bytes:.0%}",
                *_accuracy(measured.accuracy, original.accuracy),
                f"{measured.latency_ms.p50:.3f}",
                f"{measured.latency_ms.p95:.3f}",
            ]
            for name, measured in rows
        ],
    )


def _accuracy(found: float | None, original: float | None) -> tuple[str, str]:
    if found is None or original is None:
        return "", ""
    return f"{found:.3f}", f"{(found - original) * 100:+.1f}"
