"""How the routes of jobs are driven once, see `drivers`."""

from collections.abc import Callable
from typing import Any

from tests.hub.audit.site import Site

from shoal_hub.jobs.queue import cancel, enqueue


def _cancel(site: Site) -> Callable[[], Any]:
    with site.hub.database.transaction() as session:
        job_id = enqueue(session, "compress", "x", {}, by="ada").id
    return lambda: site.send("POST", f"/jobs/{job_id}/cancel")


def _retry(site: Site) -> Callable[[], Any]:
    with site.hub.database.transaction() as session:
        job_id = enqueue(session, "compress", "x", {}, by="ada").id
        cancel(session, job_id, by="ada")
    return lambda: site.send("POST", f"/jobs/{job_id}/retry")


def _train(site: Site) -> Callable[[], Any]:
    pipeline = "{name: cheap, data_ingestion: {sources: [{path: x.csv}]}, model_training: {target: y, trainer: {"
    pipeline += "framework: sklearn, algorithm: logistic_regression}}}"
    return lambda: site.send("POST", "/trainings", json={"pipeline": pipeline})


JOBS: dict[tuple[str, str], tuple[Callable[[Site], Callable[[], Any]], str, str]] = {
    ("POST", "/api/v1/jobs/{job_id}/cancel"): (_cancel, "jobs.cancel_job", "jobs/j-"),
    ("POST", "/api/v1/trainings"): (_train, "training.create_training", "jobs/j-"),
    ("POST", "/api/v1/jobs/{job_id}/retry"): (_retry, "jobs.retry_job", "jobs/j-"),
}
