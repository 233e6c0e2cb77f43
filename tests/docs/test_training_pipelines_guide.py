"""The guide to pipelines: its file runs as it stands there."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer

from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.running import run_pipeline


def test_the_guide_s_pipeline_makes_a_bundle(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "training-pipelines.md").read_text()
    [text] = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    data = load_breast_cancer()
    columns = {name.replace(" ", "_"): data.data[:, at] for at, name in enumerate(data.feature_names)}
    pq.write_table(pa.table({**columns, "y": data.target_names[data.target]}), tmp_path / "rows.parquet")
    (tmp_path / "pipeline.yaml").write_text(text)
    record = run_pipeline(read_pipeline(tmp_path / "pipeline.yaml"), tmp_path / "store")
    assert record.state == "finished"
    assert (Path(record.bundle) / "bundle.json").is_file()
    for folder in re.findall(r"`(\w+)/ID/run.json`", guide):
        assert list((tmp_path / "store" / folder).glob("*/run.json"))
