"""`shoal inference` against a real hub: set, run there and here, cancelled, gone on with, removed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import Shoal
from tests.hub.batch_inference.nightly import TEXT
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.hub.served import ServedHub

from shoal_hub.batch_inference.allowed import files_folder
from shoal_hub.jobs.child import run_job
from shoal_hub.jobs.tables import Job

ROWS = "id,a,b,c,d\n1,1,0,0,0\n2,0,1,0,0\n"


@pytest.fixture(scope="module", autouse=True)
def _registered(served: ServedHub, tmp_path_factory: pytest.TempPathFactory) -> None:
    register_bundle(served.hub, write_bundle(tmp_path_factory.mktemp("bundle") / "b"))
    folder = files_folder(served.hub.settings)
    folder.mkdir(parents=True)
    (folder / "in.csv").write_text(ROWS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.yaml"
    path.write_text(
        TEXT.replace("@production", "@1") + 'schedule: {cron: "0 3 * * *", events: [{kind: new_version}]}\n'
    )
    (tmp_path / "in.csv").write_text(ROWS)
    return path


def test_a_batch_inference_is_set_run_cancelled_gone_on_with_and_removed(
    shoal: Shoal, served: ServedHub, file: Path
) -> None:
    assert "shoal inference set FILE" in shoal("inference", "list").out
    ran = shoal("inference", "set", str(file))
    assert ran.status == 0, ran.err
    assert "0 3 * * *, new_version" in ran.out
    assert "colours@1" in shoal("inference", "show", "nightly").out
    run = json.loads(shoal("inference", "run", "nightly", "--json").out)["id"]
    assert "cancelled by ada" in shoal("inference", "cancel", "nightly", run).out
    resumed = json.loads(shoal("inference", "resume", "nightly", run, "--json").out)
    with served.hub.database.transaction() as session:
        session.get_one(Job, resumed["job_id"]).state = "running"
    run_job(resumed["job_id"], served.hub.settings)
    assert "2 in 1 parts, 0 left out" in shoal("inference", "runs", "nightly").out
    assert "(off)" in shoal("inference", "schedule", "nightly", "--off").out
    assert "nightly is no more" in shoal("inference", "remove", "nightly").out
    assert "no batch inference nightly" in shoal("inference", "show", "nightly").err


def test_a_file_runs_on_this_machine_by_the_hubs_model(shoal: Shoal, file: Path, tmp_path: Path) -> None:
    done = json.loads(shoal("inference", "here", str(file), "--store", str(tmp_path / "runs"), "--json").out)
    assert (done["state"], done["model"]["number"], done["written_rows"]) == ("finished", 1, 2)
    assert pq.read_table(tmp_path / "out" / done["id"])["id"].to_pylist() == [1, 2]


def test_what_is_wrong_with_a_file_is_told_with_its_line(shoal: Shoal, file: Path) -> None:
    file.write_text(TEXT.replace("keep: [id]", "keeps: [id]"))
    for command in (("set",), ("here",)):
        ran = shoal("inference", *command, str(file))
        assert ran.status == 1
        assert "line 5: keeps" in ran.err
