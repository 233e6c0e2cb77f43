"""The guide to Ray: its pipeline is one, its table has every field, and it runs as it stands there."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer

from shoal_training.launchers.ray import Ray
from shoal_training.launchers.torchrun import Torchrun
from shoal_training.pipeline.reading import parse_pipeline, read_pipeline
from shoal_training.pipeline.running import run_pipeline

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "ray.md").read_text()
[PIPELINE] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_guide_s_table_has_every_field_with_its_default() -> None:
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*) \|$", GUIDE, re.MULTILINE)
    named = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert named == set(Ray.model_fields)
    told = dict(rows)
    assert (told["`workers`"], told["`cpus`, `gpus`"], told["`retries`"]) == ("1", "1, 0", "3")
    fresh = Ray()
    assert (fresh.workers, fresh.cpus, fresh.gpus, fresh.retries, fresh.timeout_s) == (1, 1, 0, 3, None)


def test_the_guide_s_pipeline_trains_on_two_workers_of_ray() -> None:
    assert parse_pipeline(PIPELINE).model_training.compute == Ray(workers=2)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_guide_s_pipeline_comes_to_what_torchrun_comes_to(tmp_path: Path) -> None:
    data = load_breast_cancer()
    columns = {name.replace(" ", "_"): data.data[:, at] for at, name in enumerate(data.feature_names)}
    pq.write_table(pa.table({**columns, "y": data.target_names[data.target]}), tmp_path / "rows.parquet")
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    file = read_pipeline(tmp_path / "pipeline.yaml")
    record = run_pipeline(file, tmp_path / "store")
    assert record.state == "finished"
    assert (Path(record.bundle) / "bundle.json").is_file()
    training = file.pipeline.model_training.model_copy(update={"compute": Torchrun(processes=2)})
    other = file.pipeline.model_copy(update={"model_training": training})
    assert run_pipeline(file._replace(pipeline=other), tmp_path / "store").metrics == record.metrics
