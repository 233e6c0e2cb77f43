"""Studies of tuning in the hub's database: of both kinds, beside tables of the same names, shared by processes."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect
from tests.hub.training.conftest import PIPELINE, Site

from shoal_hub.context import HubContext
from shoal_hub.training.studies import SCHEMA, study_storage, study_url
from shoal_training.tuning.study import storage_url

SPACE = "{parameters.C: {low: 0.01, high: 10.0, log: true}}"
TUNED = PIPELINE.replace("  target: y\n", f"  target: y\n  tuning: {{space: {SPACE}, trials: 3, workers: 1}}\n")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_study_of_a_training_lies_in_the_hubs_database(hub: HubContext, client: TestClient, workers: int) -> None:
    import optuna

    site = Site(hub, client)
    begun = site.begin(TUNED.replace("workers: 1", f"workers: {workers}"))
    job = site.work(begun["job"])
    assert job.state == "succeeded", job.error
    storage = optuna.storages.RDBStorage(study_url(hub.settings, hub.database))
    [kept] = storage.get_all_studies()
    assert kept.study_name.startswith("cheap-")
    study = optuna.load_study(study_name=kept.study_name, storage=storage)
    best, trials = study.best_params, study.trials
    assert len(trials) == 3
    storage.engine.dispose()
    run = site.get(f"/runs/{begun['run']}")
    assert float(run["params"]["parameters.C"]) == best["parameters.C"]
    tables = inspect(hub.database.engine)
    if hub.database.engine.dialect.name == "postgresql":
        assert "studies" in tables.get_table_names(schema=SCHEMA)
        assert "studies" not in tables.get_table_names()
    assert "trial_params" not in tables.get_table_names(), "the hub's own tables are let be"
    hub.database.upgrade()


def test_the_password_of_the_database_stands_in_no_file(hub: HubContext) -> None:
    with study_storage(hub.settings, hub.database) as storage:
        assert storage == "$SHOAL_STUDIES_URL"
        assert storage_url(storage, hub.settings.data) == study_url(hub.settings, hub.database)
