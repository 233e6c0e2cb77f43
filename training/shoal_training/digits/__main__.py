"""`python -m shoal_training.digits --out DIR`: trains version 1 of the digits model and writes its bundle."""

from pathlib import Path
from typing import Annotated

import typer

from shoal_training.bundle import Bundle
from shoal_training.digits.train import train_digits
from shoal_training.program import follow

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder for the bundle; new or empty.")],
    seed: Annotated[int, typer.Option(help="Decides splits, first weights and batches.")] = 0,
    author: Annotated[str, typer.Option(help="Goes into the bundle.")] = "shoal",
    json_: Annotated[bool, typer.Option("--json", help="Write progress and result as JSON lines.")] = False,
) -> None:
    """Train version 1 of the digits model and write its bundle."""
    follow(lambda progress: train_digits(out, seed, progress, author=author), _summary, as_json=json_)


def _summary(bundle: Bundle) -> str:
    return f"{bundle.name}: accuracy {bundle.metrics['accuracy']:.3f} on {bundle.parameters['test_samples']} digits"


if __name__ == "__main__":
    app(prog_name="python -m shoal_training.digits")
