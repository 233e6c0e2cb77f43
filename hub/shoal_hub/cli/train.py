"""`shoal train`: runs a pipeline file, here, on a cluster of Ray or at the hub, and registers what came of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from shoal_client import ApiError, ClientError, ProfileError
from shoal_compression.errors import CompressionError
from shoal_hub.cli.connection import connect
from shoal_hub.cli.jobs import draw_job, wait
from shoal_hub.cli.output import AsJson, console, errors, facts, show, table
from shoal_hub.cli.train_at_hub import ClientSink, files_beside
from shoal_training.errors import TrainingError
from shoal_training.pipeline.ray_job import RayJob, submit
from shoal_training.pipeline.reading import PipelineFile, read_pipeline
from shoal_training.pipeline.record import RunRecord
from shoal_training.pipeline.recording import Recorder
from shoal_training.pipeline.running import run_pipeline
from shoal_training.progress import Progress, silent, terminal_bars

File = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline file.", exists=True, dir_okay=False)]
Out = Annotated[Path | None, typer.Option(help="Folder for the bundle; new or empty. Below the store without.")]
Store = Annotated[Path, typer.Option(help="Folder of results, kept from run to run.")]

_NOT_FOUND: Final = 404


class AtHub(NamedTuple):
    """What is asked of a training at the hub."""

    is_registered: bool
    aliases: Sequence[str]
    is_fresh: bool
    priority: int


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
    at_hub: Annotated[bool, typer.Option("--at-hub", help="Have the hub do it, in a job.")] = False,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Of the hub's job; the highest goes first.")] = 0,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the hub's job.")] = False,
    record: Annotated[
        bool | None, typer.Option(help="Record the run at the hub; where there is a profile, it is without.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline: read, check, prepare, train, evaluate, and write a bundle that can be registered."""
    try:
        read = read_pipeline(file)
        if at_hub and on_ray is not None:
            raise ClientError("training: --at-hub and --on-ray are two places", "name one of them")
        if record and on_ray is not None:
            raise ClientError("training: a run on a cluster of Ray is not recorded", "leave --record out, or --on-ray")
        if at_hub:
            asked = AtHub(is_registered=register, aliases=alias or (), is_fresh=fresh, priority=priority)
            _train_at_hub(read, asked, detach=detach, as_json=as_json)
            return
        with (
            nullcontext(silent) if as_json or not errors.is_terminal else terminal_bars() as progress,
            _recorder(is_asked=record if on_ray is None else False) as recorder,
        ):
            if on_ray is not None:
                run = _on_ray(submit(read, on_ray, store, out, is_fresh=fresh), progress)
            else:
                finder = partial(_champion, store / "champions")
                run = run_pipeline(
                    read, store, out, progress, is_fresh=fresh, champion_finder=finder, recorder=recorder
                )
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


def _train_at_hub(read: PipelineFile, asked: AtHub, *, detach: bool, as_json: bool) -> None:
    with connect() as client:
        begun = client.trainings.start(read.text, files_beside(read), **asked._asdict())
        errors.print(f"job {begun.job}, run {begun.run}: shoal jobs log {begun.job} --follow")
        job = client.job(begun.job) if detach else wait(client, begun.job)
    show(job, as_json=as_json, draw=lambda: draw_job(job))


@contextmanager
def _recorder(*, is_asked: bool | None) -> Iterator[Recorder]:
    """Give what records the run at the hub of the profile: if asked for, or if there is one and nothing was said."""
    if is_asked is False:
        yield Recorder(None, _warn)
        return
    try:
        client = connect()
    except ProfileError:
        if is_asked:
            raise
        yield Recorder(None, _warn)
        return
    with client:
        yield Recorder(ClientSink(client), _warn)


def _warn(warning: str) -> None:
    errors.print(f"[yellow]warning[/yellow] {warning}")


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
        _warn(one)
    measured = [(name, f"{value:.4g}") for name, value in run.metrics.items()]
    facts([*measured, ("evaluation", run.evaluation), ("bundle", run.bundle), ("run", run.id)])
    console.print(f"Register it: shoal models register {run.bundle}")
