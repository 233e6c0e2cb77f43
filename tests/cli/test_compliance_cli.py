"""`shoal models compliance` and a champion at the hub, against a real hub."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import Shoal
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.hub.served import ServedHub

from shoal_training.pipeline.record import read_records

PIPELINE = """\
name: loans
data_ingestion: {sources: [{path: rows.parquet}]}
data_preprocessing: {transformation: [standardize]}
model_training:
  target: y
  trainer: {framework: sklearn, algorithm: logistic_regression}
model_evaluation:
  champion: {model: loans@champion}
"""


@pytest.fixture(scope="module")
def version(served: ServedHub, tmp_path_factory: pytest.TempPathFactory) -> int:
    card = {"model-card.json": json.dumps({"owner": "ada"}).encode()}
    return register_bundle(served.hub, write_bundle(tmp_path_factory.mktemp("bundle") / "b", extra=card))


def test_a_report_is_written_as_markdown_or_json(shoal: Shoal, version: int, tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    shown = shoal("models", "compliance", "colours", f"{version}", "--framework", "nist-ai-rmf", "--output", str(path))
    assert shown.status == 0, shown.err
    assert "## Measure: assessment, trustworthiness and tracking" in path.read_text()
    found = json.loads(shoal("models", "compliance", "colours", "latest", "--framework", "eu-ai-act", "--json").out)
    assert found["framework"] == "eu-ai-act"
    assert found["empty"]


def test_an_unknown_framework_is_told_with_the_known_ones(shoal: Shoal, version: int) -> None:
    shown = shoal("models", "compliance", "colours", f"{version}", "--framework", "iso-42001")
    assert shown.status != 0
    assert "nist-ai-rmf" in shown.err


def test_a_pipeline_is_compared_with_the_champion_that_the_hub_has(shoal: Shoal, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(300, 2))
    pq.write_table(pa.table({"a": x[:, 0], "b": x[:, 1], "y": (x[:, 0] > 0).astype(int)}), tmp_path / "rows.parquet")
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    command = ("train", str(tmp_path / "pipeline.yaml"), "--store", str(tmp_path / "store"))
    first = shoal(*command, "--alias", "champion")
    assert first.status == 0, first.err
    assert "there is no champion yet" in first.err
    second = shoal(*command)
    assert second.status == 0, second.err
    latest, _ = read_records(tmp_path / "store" / "runs")
    assert "no champion" not in " ".join(latest.warnings)
    card = json.loads((Path(latest.bundle) / "model-card.json").read_text())
    assert card["champion"]["verdict"] == "no worse"
    assert "loans" in card["champion"]["champion"]
