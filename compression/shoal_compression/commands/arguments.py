"""Arguments that several commands have."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from shoal_compression.budget import Accelerator, best_accelerator, check_accelerator
from shoal_compression.search.candidates import Constraints

ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A bundle's folder, or an .onnx, .tflite, .keras or .pt2 file.")
]
Calibration = Annotated[
    Path | None,
    typer.Option(help="Samples as .npz: an array for each input by its name (or x), labels y. A bundle has its own."),
]
Test = Annotated[Path | None, typer.Option(help="Held-out samples, likewise; half of the others if left out.")]
Train = Annotated[Path | None, typer.Option(help="Samples to train on, likewise, with labels.")]
Json = Annotated[bool, typer.Option("--json", help="Write progress and result as JSON lines.")]


def finite(value: float | None) -> float | None:
    """Refuse NaN, which is neither below nor above a bound, and infinity."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number; give one")
    return value


Threads = Annotated[int, typer.Option(min=1, help="Of the steps; latency is always of one.")]
Where = Annotated[Literal["best", "cpu", "cuda"], typer.Option("--accelerator", help="Where steps train.")]
MaxLatency = Annotated[
    float | None, typer.Option("--max-latency-ms", min=0, callback=finite, help="Of the median, of what is chosen.")
]
MaxDrop = Annotated[
    float | None,
    typer.Option("--max-drop", min=0, max=100, callback=finite, help="Points of accuracy that may be lost."),
]
MaxSize = Annotated[float | None, typer.Option("--max-size-kb", min=0, callback=finite, help="Of the file.")]
MaxMemory = Annotated[float | None, typer.Option("--max-memory-mb", min=0, callback=finite, help="At its peak.")]
Target = Annotated[str | None, typer.Option("--target", help="Choose for this target alone.")]


def accelerator(where: Literal["best", "cpu", "cuda"]) -> Accelerator:
    """Return what is meant; `best` is a GPU where PyTorch finds one.

    Raises:
        TechniqueError: A GPU is asked for, and none is there.
    """
    if where == "best":
        return best_accelerator()
    check_accelerator(where)
    return where


def constraints(
    latency_ms: float | None, drop: float | None, size_kb: float | None, memory_mb: float | None
) -> Constraints | None:
    """Return the constraints; None: nothing was asked."""
    if latency_ms is None and drop is None and size_kb is None and memory_mb is None:
        return None
    return Constraints(
        max_latency_ms=latency_ms,
        max_drop=drop,
        max_size_bytes=None if size_kb is None else int(size_kb * 1000),
        max_memory_bytes=None if memory_mb is None else int(memory_mb * 1e6),
    )
