"""A hub with a model of four features, and rows that it may read."""

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from tests.hub.registry.bundles import register_bundle, write_bundle

from shoal_hub.batch_inference.allowed import files_folder
from shoal_hub.context import HubContext
from shoal_hub.jobs.child import run_job
from shoal_hub.jobs.tables import Job

ROWS = 10
TEXT = """\
name: nightly
source: {path: in.csv}
model: colours@production
inputs: {features: [a, b, c, d]}
keep: [id]
sink: {path: 'out/{run}'}
part_rows: 4
"""


class Nightly:
    """What an operator does, and the hub's job process."""

    def __init__(self, hub: HubContext, client: TestClient, folder: Path) -> None:
        self.hub, self.client = hub, client
        self._folder = folder
        self.files = files_folder(hub.settings)
        self.files.mkdir(parents=True)
        self.write_rows()
        self.register()

    def write_rows(self, rows: int = ROWS) -> None:
        lines = [f"{at},{at % 3},{(at + 1) % 3},{(at + 2) % 3},0" for at in range(rows)]
        (self.files / "in.csv").write_text("\n".join(["id,a,b,c,d", *lines]) + "\n")

    def register(self, seed: int = 0) -> int:
        number = register_bundle(self.hub, write_bundle(self._folder / f"bundle-{seed}", seed=seed))
        moved = self.client.post(f"/api/v1/models/colours/versions/{number}/stage", json={"stage": "production"})
        assert moved.status_code == 200, moved.text
        return number

    def set(self, text: str = TEXT, name: str = "nightly", expected: int = 200) -> Any:
        answer = self.client.put(f"/api/v1/batch-inference/{name}", json={"text": text})
        assert answer.status_code == expected, answer.text
        return answer.json()

    def send(self, method: str, path: str, expected: int = 200, **body: Any) -> Any:
        answer = self.client.request(method, f"/api/v1/batch-inference{path}", **({"json": body} if body else {}))
        assert answer.status_code == expected, answer.text
        return answer.json()

    def work(self, run: Any) -> Any:
        """Do a run's job, and return the run."""
        with self.hub.database.transaction() as session:
            session.get_one(Job, run["job_id"]).state = "running"
        run_job(run["job_id"], self.hub.settings)
        return self.send("GET", f"/{run['name']}/runs/{run['id']}")
