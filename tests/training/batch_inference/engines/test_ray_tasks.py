"""The engine of Ray: on a cluster that is there, and on one that it starts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.checks.inference_engine import Doubling, WorkerEngineChecks, parts, table
from tests.training.batch_inference.models import definition_text, run
from tests.training.ray_head import RayHead

from shoal_training.batch_inference.engines.engine import Engine, EngineContext
from shoal_training.batch_inference.engines.local import LocalEngine
from shoal_training.batch_inference.engines.ray_tasks import RayEngine
from shoal_training.errors import LaunchError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class TestOnACluster(WorkerEngineChecks):
    """All that is asked of an engine, as tasks of a Ray that outlives them."""

    @pytest.fixture
    def engine(self, cluster: RayHead) -> Engine:
        return RayEngine(address=cluster.address, workers=2, retries=1)


def test_without_an_address_a_ray_is_started_for_the_run_and_answers_as_this_machine_does(folder: Path) -> None:
    """In a process of its own: Ray reads its token once in a process."""
    (folder / "nightly.yaml").write_text(definition_text("{path: out}", engine="{kind: ray, workers: 2}"))
    command = [sys.executable, "-m", "shoal_training.batch_inference", "nightly.yaml", "--run", "r1"]
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    done = subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    by_ray = {path.name: path.read_bytes() for path in (folder / "out").glob("*.parquet")}
    shutil.rmtree(folder / "out")
    shutil.rmtree(folder / "store", ignore_errors=True)
    run(folder, "{path: out}")
    assert by_ray == {path.name: path.read_bytes() for path in (folder / "out").glob("*.parquet")}


def test_a_cluster_that_is_not_there_is_told() -> None:
    engine = RayEngine(address="127.0.0.1:9")
    with pytest.raises(LaunchError, match="connecting to the cluster 127.0.0.1:9"):
        list(engine.answers(Doubling(Path()), parts(), EngineContext(table)))


def test_a_part_is_tried_as_often_as_on_any_engine() -> None:
    assert RayEngine().retries == LocalEngine().retries
