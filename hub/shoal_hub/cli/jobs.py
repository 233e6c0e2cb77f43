"""`shoal jobs`: list, show, log, wait, cancel, retry."""

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from shoal_client import ShoalClient
from shoal_client.registry import Job
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, errors, facts, printable, show, table

app = typer.Typer(help="Long work at the hub.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


@app.command("list", epilog="Example: shoal jobs list")
def list_jobs(as_json: AsJson = False) -> None:
    """List jobs, newest first."""
    with connect() as client:
        jobs = client.jobs()
    rows = [(one.id, one.kind, one.subject, one.state, one.message, one.created_by, one.created_at) for one in jobs]
    columns = ("ID", "KIND", "SUBJECT", "STATE", "PROGRESS", "BY", "CREATED")
    show(jobs, as_json=as_json, draw=lambda: table(columns, rows, empty="There is no job."))


@app.command("show", epilog="Example: shoal jobs show j-abcdefgh")
def show_job(job: JobId, as_json: AsJson = False) -> None:
    """Show one job."""
    with connect() as client:
        found = client.job(job)
    show(found, as_json=as_json, draw=lambda: draw_job(found))


@app.command(epilog="Example: shoal jobs log j-abcdefgh --follow")
def log(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
) -> None:
    """Print what a job has written."""
    with connect() as client:
        for text in client.follow_job_log(job) if follow else [client.job_log(job)]:
            typer.echo(printable(text), nl=False)


@app.command(epilog="Example: shoal jobs cancel j-abcdefgh")
def cancel(job: JobId, as_json: AsJson = False) -> None:
    """Cancel a job that is queued or runs; nothing of it is kept by halves."""
    with connect() as client:
        done = client.cancel_job(job)
    show(done, as_json=as_json, draw=lambda: draw_job(done))


@app.command(epilog="Example: shoal jobs retry j-abcdefgh")
def retry(job: JobId, as_json: AsJson = False) -> None:
    """Do a job again that has failed or was cancelled; a training goes on from its last checkpoint."""
    with connect() as client:
        queued = client.retry_job(job)
    show(queued, as_json=as_json, draw=lambda: draw_job(queued))


@app.command("wait", epilog="Example: shoal jobs wait j-abcdefgh")
def wait_for(job: JobId, as_json: AsJson = False) -> None:
    """Wait until a job has ended; exit status 1 if it failed."""
    with connect() as client:
        done = wait(client, job)
    show(done, as_json=as_json, draw=lambda: draw_job(done))


def wait(client: ShoalClient, job_id: str) -> Job:
    """Wait for a job behind a progress bar."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("queued", total=1.0)
        return client.wait_for_job(
            job_id, lambda job: bar.update(task, completed=job.progress, description=job.message or job.state)
        )


def draw_job(job: Job) -> None:
    """Draw what is known of a job."""
    facts(
        [
            ("job", job.id),
            ("kind", job.kind),
            ("subject", job.subject),
            ("state", job.state),
            ("priority", job.priority),
            ("progress", job.message),
            ("error", job.error),
            ("attempts", job.attempts),
            ("next attempt", job.not_before),
            ("by", job.created_by),
            ("created", job.created_at),
            ("started", job.started_at),
            ("ended", job.ended_at),
        ]
    )
