"""`python -m shoal_training`: makes the bundle of a new version from its parent and new weights."""

from pathlib import Path
from typing import Annotated

import typer

from shoal_training.bundle import Bundle
from shoal_training.new_version import bundle_from_weights
from shoal_training.program import follow
from shoal_training.progress import Progress
from shoal_training.weights import read_weights

app = typer.Typer(add_completion=False)


@app.command()
def main(
    parent: Annotated[Path, typer.Option(help="The parent's bundle.")],
    weights: Annotated[Path, typer.Option(help="New weights: safetensors with the keys 000, 001, …")],
    out: Annotated[Path, typer.Option(help="Folder for the new bundle; new or empty.")],
    author: Annotated[str, typer.Option(help="Goes into the bundle.")],
    parent_share: Annotated[float, typer.Option(help="Share (0..1) of the parent's weights.")] = 0.0,
    algorithm: Annotated[str | None, typer.Option(help="How it was made; the parent's if left out.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write progress and result as JSON lines.")] = False,
) -> None:
    """Make the bundle of a new version from its parent's bundle and new weights."""

    def work(progress: Progress) -> Bundle:
        return bundle_from_weights(
            parent,
            read_weights(weights),
            out,
            author=author,
            parent_share=parent_share,
            algorithm=algorithm,
            tags=tag or (),
            progress=progress,
        )

    follow(work, lambda bundle: f"{bundle.name}: accuracy {bundle.metrics['accuracy']:.3f}", as_json=json_)


if __name__ == "__main__":
    app(prog_name="python -m shoal_training")
