"""Trainings at a hub, with their jobs done in this process."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from shoal_hub.context import HubContext
from shoal_hub.jobs.child import run_job
from shoal_hub.jobs.tables import Job

PIPELINE = """\
name: cheap
seed: 3
data_ingestion:
  sources: [{path: data/rows.parquet}]
data_preprocessing:
  transformation: [{step: standardize}]
model_training:
  target: y
  trainer: {framework: sklearn, algorithm: logistic_regression, parameters: {max_iter: 200}}
model_evaluation:
  limits: {accuracy: 0.8}
  resamples: 0
"""


def rows() -> bytes:
    """Return a Parquet file of 300 rows that a line parts."""
    x = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    columns = {f"x{at}": x[:, at] for at in range(3)}
    buffer = io.BytesIO()
    pq.write_table(pa.table({**columns, "y": np.where(x.sum(axis=1) > 0, "high", "low")}), buffer)
    return buffer.getvalue()


class Site:
    """A hub that trains."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client

    def send(self, pipeline: str = PIPELINE, files: Mapping[str, bytes] | None = None, **asked: Any) -> Any:
        sent = {"data/rows.parquet": rows()} if files is None else files
        encoded = {name: base64.b64encode(content).decode() for name, content in sent.items()}
        return self.client.post("/api/v1/trainings", json={"pipeline": pipeline, "files": encoded, **asked})

    def begin(self, pipeline: str = PIPELINE, **asked: Any) -> dict[str, str]:
        answer = self.send(pipeline, **asked)
        assert answer.status_code == 201, answer.text
        begun: dict[str, str] = answer.json()
        return begun

    def work(self, job_id: str) -> Job:
        """Do a job, as its process would."""
        with self.hub.database.transaction() as session:
            session.get_one(Job, job_id).state = "running"
        run_job(job_id, self.hub.settings)
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        with self.hub.database.session() as session:
            return session.get_one(Job, job_id)

    def get(self, path: str) -> Any:
        answer = self.client.get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def site(sqlite_hub: HubContext, sqlite_client: TestClient) -> Site:
    return Site(sqlite_hub, sqlite_client)
