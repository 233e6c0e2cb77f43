"""A pipeline file joins labels with features, computed elsewhere or here from events."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from shoal_training.errors import DataError, PipelineError
from shoal_training.ingestion.features import FeaturesSource
from shoal_training.ingestion.source import Reading
from shoal_training.pipeline.reading import parse_pipeline

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SOURCE = """
kind: features
time: asked_at
labels: {path: labels.parquet}
views:
  - name: account
    source: {path: accounts.parquet}
    entity: [user]
    created: written_at
    features:
      balance: {fallback: 0, ttl_s: 864000}
      grade:
  - name: clicks
    source: {path: clicks.parquet}
    entity: [user]
    time: at
    definition:
      window: {kind: time, size_ms: 604800000, every_ms: 86400000}
      features:
        count: {aggregate: events, ttl_s: 864000, fallback: 0}
        amount: {aggregate: mean, field: amount, ttl_s: 864000}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    days = range(1, 11)
    write(
        tmp_path / "labels.parquet",
        user=[1, 2, 1],
        asked_at=[START + 4 * DAY, START, START + 9 * DAY],
        bought=[0, 1, 1],
    )
    write(
        tmp_path / "accounts.parquet",
        user=[1, 1],
        event_time=[START, START + 3 * DAY],
        written_at=[START, START + 8 * DAY],
        balance=[10, 20],
        grade=["new", "good"],
    )
    write(
        tmp_path / "clicks.parquet",
        user=[1] * 10,
        at=[START + day * DAY for day in days],
        amount=[float(day) for day in days],
    )
    return tmp_path


def write(path: Path, **columns: list[Any]) -> None:
    pq.write_table(pa.table(columns), path)


def source(**changes: Any) -> FeaturesSource:
    found = yaml.safe_load(SOURCE) | changes
    return FeaturesSource.model_validate({name: value for name, value in found.items() if name != "kind"})


def test_labels_get_features_that_were_known_and_features_of_events(folder: Path) -> None:
    told: list[str] = []
    reading = Reading(folder, lambda stage, _done, _total: told.append(stage))
    table = pa.concat_tables(source().tables(reading))
    assert table["account/balance"].to_pylist() == [10, 0, 20]
    assert table["account/grade"].to_pylist() == [None, None, None], "after a day a value without ttl_s is too old"
    # Of day 4 the windows up to its beginning have closed: clicks of days 1 to 3; of day 9 those of days 2 to 8.
    assert table["clicks/count"].to_pylist() == [3, 0, 7]
    assert table["clicks/amount"].to_pylist() == [2, None, 5]
    assert any(
        "account: 1 of 3 labels without an earlier value, 1 where a newer one was not known yet" in one for one in told
    )


def test_rows_come_in_tables_of_a_batch(folder: Path) -> None:
    assert [len(one) for one in source().tables(Reading(folder, batch_rows=2))] == [2, 1]


def test_the_fingerprint_changes_with_the_rows_of_any_view(folder: Path) -> None:
    before = source().fingerprint(Reading(folder))
    write(folder / "clicks.parquet", user=[1], at=[START], amount=[1.0])
    assert source().fingerprint(Reading(folder)) != before


def test_lineage_names_labels_and_views() -> None:
    described = source().described()
    assert described["labels"]["path"] == "labels.parquet"
    assert [view["source"]["path"] for view in described["views"]] == ["accounts.parquet", "clicks.parquet"]


def test_a_pipeline_file_learns_from_joined_rows(folder: Path) -> None:
    from shoal_training.pipeline.reading import read_pipeline
    from shoal_training.pipeline.running import run_pipeline

    random = np.random.default_rng(0)
    users, days = random.integers(0, 20, 200), random.integers(5, 9, 200)
    amounts = random.uniform(0, 10, 20)
    write(
        folder / "labels.parquet",
        user=users.tolist(),
        asked_at=[START + int(day) * DAY for day in days],
        bought=[int(amounts[user] > 5) for user in users],
    )
    write(
        folder / "clicks.parquet",
        user=list(range(20)) * 4,
        at=[START + n // 20 * DAY for n in range(80)],
        amount=[float(amounts[n % 20]) for n in range(80)],
    )
    said = yaml.safe_load(SOURCE)
    said["views"] = said["views"][1:]
    pipeline = {
        "name": "buyers",
        "data_ingestion": {"sources": [said]},
        "data_preprocessing": {"transformation": [{"step": "impute"}, {"step": "standardize"}]},
        "model_training": {
            "target": "bought",
            "inputs": ["clicks/count", "clicks/amount"],
            "trainer": {"framework": "sklearn", "algorithm": "random_forest"},
        },
    }
    file = folder / "buyers.yaml"
    file.write_text(yaml.safe_dump(pipeline))
    run = run_pipeline(read_pipeline(file), folder / "store", folder / "bundle")
    assert run.metrics["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("features: {balance: {fallbck: 1}}", "there is no field features.balance.fallbck"),
        ("definition: {window: {kind: session, gap: 3}, features: {}}", "gap_ms"),
        ("time: at", "`features` of rows or a `definition` for events is expected"),
    ],
)
def test_a_view_that_is_none_is_told_with_its_line(change: str, says: str) -> None:
    text = (
        "name: x\ndata_ingestion:\n  sources:\n    - kind: features\n      labels: {path: a.parquet}\n      views:\n"
        f"        - name: v\n          source: {{path: b.parquet}}\n          entity: [user]\n          {change}\n"
        "model_training: {target: y, trainer: {framework: sklearn, algorithm: random_forest}}\n"
    )
    with pytest.raises(PipelineError, match="line [0-9]+: data_ingestion.sources.1") as told:
        parse_pipeline(text)
    assert says in str(told.value)


def test_events_without_a_field_or_a_key_are_told(folder: Path) -> None:
    write(folder / "clicks.parquet", user=[1], at=[START])
    with pytest.raises(DataError, match="computing view clicks: there is no column amount; the table has user, at"):
        list(source().tables(Reading(folder)))
    write(folder / "clicks.parquet", user=[None], at=[START], amount=[1.0])
    with pytest.raises(DataError, match="1 events have no user"):
        list(source().tables(Reading(folder)))
