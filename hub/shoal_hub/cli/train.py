"""`shoal train`: runs a pipeline file, here or on a cluster of Ray, and registers what came of it where asked."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from shoal_client import ApiError, ClientError
from shoal_compression.errors import CompressionError
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, errors, facts, show, table
from shoal_training.errors import TrainingError
from shoal_training.pipeline.ray_job import RayJob, submit
from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.record import RunRecord
from shoal_training.pipeline.running import run_pipeline
from shoal_training.progress import Progress, silent, terminal_bars

File = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline file.", exists=True, dir_okay=False)]
Out = Annotated[Path | None, typer.Option(help="Folder for the bundle; new or empty. Below the store without.")]
Store = Annotated[Path, typer.Option(help="Folder of results, kept from run to run.")]

_NOT_FOUND: Final = 404


def train(
    file: File,
    out: Out = None,
    store: Store = Path(".shoal-train"),
    register: Annotated[bool, typer.Option("--register", help="Register the bundle at the hub.")] = False,
    alias: Annotated[list[str] | None, typer.Option(help="For the registered version; may be repeated.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do all steps again, also those done before.")] = False,
    on_ray: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Run it as a job of the cluster of Ray whose dashboard is at http://HOST:8265."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline: read, check, prepare, train, evaluate, and write a bundle that can be registered."""
    try:
        read = read_pipeline(file)
        with nullcontext(silent) if as_json or not errors.is_terminal else terminal_bars() as progress:
            if on_ray is not None:
                run = _on_ray(submit(read, on_ray, store, out, is_fresh=fresh), progress)
            else:
                finder = partial(_champion, store / "champions")
                run = run_pipeline(read, store, out, progress, is_fresh=fresh, champion_finder=finder)
    except (TrainingError, CompressionError) as error:
        raise ClientError(str(error), "") from error
    show(run, as_json=as_json, draw=lambda: _draw(run))
    if register or alias:
        with connect() as client:
            version = client.models.register_bundle(Path(run.bundle), aliases=alias or ())
        errors.print(f"registered as {version.model} version {version.number}")


def _on_ray(job: RayJob, progress: Progress) -> RunRecord:
    """Follow a job to its end; an interruption here ends it there."""
    errors.print(f"runs as the job {job.id} of Ray")
    run = job.result(progress)
    if not Path(run.bundle).is_dir():
        errors.print(f"[yellow]warning[/yellow] {run.bundle} lies on the cluster; name a --store that both have")
    return run


def _champion(root: Path, named: str) -> Path | None:
    """Fetch the bundle of `model@alias` from the hub; None: the hub has none of that name."""
    name, _, ref = named.partition("@")
    with connect() as client:
        try:
            return client.models.download_bundle(name, ref, root)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return None


def _draw(run: RunRecord) -> None:
    rows = [(one.name, "done before" if one.is_cached else f"{one.took_s:.1f} s", one.key[:12]) for one in run.steps]
    table(("STEP", "TOOK", "KEY"), rows, empty="no step")
    for one in run.warnings:
        errors.print(f"[yellow]warning[/yellow] {one}")
    measured = [(name, f"{value:.4g}") for name, value in run.metrics.items()]
    facts([*measured, ("evaluation", run.evaluation), ("bundle", run.bundle), ("run", run.id)])
    console.print(f"Register it: shoal models register {run.bundle}")
