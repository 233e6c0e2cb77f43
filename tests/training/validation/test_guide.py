"""The guide's pipeline runs, and its tables name every check and every step with fields that there are."""

import re
from pathlib import Path

import numpy as np
import pytest

from shoal_compression.values import Value
from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.running import run_pipeline
from shoal_training.transforms.steps import BY_KIND as STEPS
from shoal_training.validation.checks import BY_KIND as CHECKS

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "training-validation.md"
ROW = re.compile(r"^\| `(\w+)` \| [^|]* \|(.*)\|$", re.MULTILINE)


def test_the_pipeline_of_the_guide_runs_and_leaves_out_what_it_says(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    random = np.random.default_rng(0)
    lines = ["id,site,mode,pressure,flow,broken"]
    for at in range(200):
        pressure = random.uniform(50, 350)
        mode = ("idle", "pumping", "flushing")[at % 3]
        shown = "" if at == 7 else f"{pressure:.1f}"
        lines.append(
            f"{max(at, 1)},DE-{at:03d},{mode},{shown},{pressure * random.uniform(0.2, 1):.1f},{int(pressure > 250)}"
        )
    (tmp_path / "pumps.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "pipeline.yaml").write_text(text)
    record = run_pipeline(read_pipeline(tmp_path / "pipeline.yaml"), tmp_path / "store")
    assert record.state == "finished"
    assert record.warnings == ("unique: 1 of 200 rows: id is that of another row (1)",)
    assert set(record.reports) == {"validation", "quarantine"}
    assert record.metrics["accuracy"] > 0.8


@pytest.mark.parametrize(("heading", "kinds"), [("## Checks", CHECKS), ("## Steps", STEPS)])
def test_every_kind_is_in_its_table_with_its_fields(heading: str, kinds: dict[str, type[Value]]) -> None:
    section = GUIDE.read_text().split(heading)[1].split("\n## ")[0]
    rows = dict(ROW.findall(section))
    assert set(rows) == set(kinds)
    for kind, fields in rows.items():
        words = re.findall(r"`(\w+)`", fields)
        values = {"first", "last", "none", "iqr", "z_score", "isolation_forest", "PT36H"}
        assert set(words) - values <= set(kinds[kind].model_fields), kind
