"""`python -m shoal_training.pipeline FILE`: runs a pipeline, for a person or, as JSON lines, for a job."""

from pathlib import Path
from typing import Annotated

import typer

from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.record import RunRecord
from shoal_training.pipeline.running import run_pipeline
from shoal_training.program import follow
from shoal_training.progress import Progress

app = typer.Typer(add_completion=False)


@app.command()
def main(
    file: Annotated[Path, typer.Argument(help="The pipeline file.", exists=True, dir_okay=False)],
    out: Annotated[Path | None, typer.Option(help="Folder for the bundle; new or empty. In the store without.")] = None,
    store: Annotated[Path, typer.Option(help="Folder of results, kept from run to run.")] = Path(".shoal-train"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Do all steps again.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write progress and result as JSON lines.")] = False,
) -> None:
    """Run a pipeline and write the bundle of its model."""

    def work(progress: Progress) -> RunRecord:
        return run_pipeline(read_pipeline(file), store, out, progress, is_fresh=fresh)

    follow(work, _summary, as_json=json_)


def _summary(run: RunRecord) -> str:
    measured = ", ".join(f"{name} {value:.4g}" for name, value in run.metrics.items())
    return f"{run.pipeline}: {measured or 'nothing was measured'}; bundle in {run.bundle}"


if __name__ == "__main__":
    app(prog_name="python -m shoal_training.pipeline")
