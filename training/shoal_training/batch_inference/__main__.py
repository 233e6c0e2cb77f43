"""`python -m shoal_training.batch_inference FILE`: runs a batch inference of a bundle's folder."""

from pathlib import Path
from typing import Annotated

import typer

from shoal_training.batch_inference.reading import read_inference
from shoal_training.batch_inference.record import InferenceRun
from shoal_training.batch_inference.running import Given, run_inference
from shoal_training.errors import InferenceError
from shoal_training.program import follow
from shoal_training.progress import Progress

app = typer.Typer(add_completion=False)


@app.command()
def main(
    file: Annotated[Path, typer.Argument(help="The file of the batch inference.", exists=True, dir_okay=False)],
    store: Annotated[Path, typer.Option(help="Folder of runs.")] = Path(".shoal-inference"),
    run: Annotated[str, typer.Option(help="Id of the run to begin or go on with.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new run, whatever has not finished.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write progress and result as JSON lines.")] = False,
) -> None:
    """Answer the rows of a source by a model, and write the answers to a sink."""

    def work(progress: Progress) -> InferenceRun:
        read = read_inference(file)
        bundle = read.definition.model.bundle
        if not bundle:
            raise InferenceError(f"running {file}: its model is at a hub; use `shoal inference run`, or name a bundle")
        given = Given(file.parent / bundle, store, run_id=run or None, is_fresh=fresh, progress=progress)
        return run_inference(read, given)

    follow(work, _summary, as_json=json_)


def _summary(run: InferenceRun) -> str:
    return f"{run.name} {run.id}: {run.written_rows} rows in {run.written_parts} parts; {run.refused_rows} left out"


if __name__ == "__main__":
    app(prog_name="python -m shoal_training.batch_inference")
