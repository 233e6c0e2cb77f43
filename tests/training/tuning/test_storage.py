"""A search whose study lies in PostgreSQL: written, gone on with, its tables made by Optuna."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub.postgres_cluster import PostgresCluster
from tests.training.tuning.test_search import DEPTHS, samples, work_of

from shoal_training.progress import silent
from shoal_training.tuning.search import search
from shoal_training.tuning.writing import write_tuning


@pytest.fixture
def url() -> Iterator[str]:
    cluster = PostgresCluster()
    yield cluster.url(cluster.create())
    cluster.stop()


@pytest.mark.slow
@pytest.mark.postgres
def test_a_study_lies_in_postgresql_and_is_gone_on_with(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNING_URL", url)
    fields = {"space": DEPTHS, "storage": "$TUNING_URL", "pruner": "none"}
    for trials in (2, 3):
        work = work_of({**fields, "trials": trials})
        study = search(work, samples(1), samples(2), tmp_path / "work", silent)
        assert study.ended() == trials
    assert not list((tmp_path / "work").glob("*.db")), "nothing lies in the folder"
    found = write_tuning(study, work.metric, work.study, tmp_path)
    assert 1 <= int(found.settings["parameters.max_depth"]) <= 6
    study.close()
