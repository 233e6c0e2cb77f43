"""The guide to batch inference: its file runs as it stands, its tables name what there is."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tests.training.batch_inference.models import linear_bundle

from shoal_training.batch_inference.engines import engines
from shoal_training.batch_inference.reading import InferenceFile, parse_inference
from shoal_training.batch_inference.running import Given, run_inference
from shoal_training.batch_inference.schedule import OnEvent
from shoal_training.batch_inference.sinks import sinks

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guides/batch-inference.md").read_text()


def test_the_file_runs_as_it_stands(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    text = text.replace("features:", "x:")  # the small model's input
    for day in ("2026-03-01", "2026-03-02"):
        folder = tmp_path / f"lake/readings/day={day}"
        folder.mkdir(parents=True)
        rows = pa.table({"id": [1, 2], "flow": [0.5, 1.0], "pressure": [2.0, 3.0], "temperature": [20.0, 21.0]})
        pq.write_table(rows, folder / "a.parquet")
    file = InferenceFile(tmp_path / "nightly.yaml", text, parse_inference(text))
    done = run_inference(file, Given(linear_bundle(tmp_path / "bundle"), tmp_path / "runs"))
    assert done.written_rows == 4
    assert pq.read_table(tmp_path / "scores/day=2026-03-02").column_names == ["id", "scores"]


def test_its_tables_name_every_sink_engine_and_event() -> None:
    kinds = dict(re.findall(r"^\| `(\w+)` \|.*\| (exactly|at least).*\|$", GUIDE, re.MULTILINE))
    assert kinds == {name: "exactly" if one.is_exactly_once else "at least" for name, one in sinks.BY_KIND.items()}
    assert set(re.findall(r"kind: (local|ray)", GUIDE)) == set(engines.BY_KIND)
    events = OnEvent.model_fields["kind"].annotation
    assert set(re.findall(r"events: \[\{kind: (\w+)", GUIDE)) == set(events.__args__)  # type: ignore[union-attr]


def test_the_decision_names_files_that_are_there() -> None:
    text = (ROOT / "docs/adr/0041-batch-inference.md").read_text()
    for path in re.findall(r"\]\((\.\./[^)]+)\)", text):
        assert (ROOT / "docs/adr" / path).is_file(), path
