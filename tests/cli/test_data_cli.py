"""`shoal data`, on folders of this machine: no hub is asked."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Ran

from shoal_hub.cli import main, output

PIPELINE = """
name: readings
data_ingestion:
  sources: [{path: rows.csv}]
  is_strict: false
model_training:
  target: y
  trainer: {framework: sklearn, algorithm: random_forest}
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Data":
    for shown in (output.console, output.errors):
        monkeypatch.setattr(shown, "_width", 200)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return Data(tmp_path, monkeypatch, capsys)


class Data:
    """Runs one command line in this process, in a folder with a pipeline."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._capsys = folder, patch, capsys

    def __call__(self, *arguments: str) -> Ran:
        self._patch.setattr("sys.argv", ["shoal", "data", *arguments, "--store", str(self.folder / "store")])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = self._capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    def take(self, rows: str) -> str:
        (self.folder / "rows.csv").write_text(rows)
        taken = self("take", str(self.folder / "pipeline.yaml"), "--json")
        return str(json.loads(taken.out)["id"])


def test_versions_are_taken_listed_shown_compared_and_pruned_by_commands(data: Data) -> None:
    assert "No data yet: shoal data take PIPELINE" in data("list").out
    first = data.take("id,x,y\n1,1.5,a\n2,2.5,b\n3,broken\n")
    second = data.take("id,x,y\n2,3.5,b\n2,2.5,b\n4,,c\n")
    listed = data("list").out
    assert first[:12] in listed
    assert "rows.csv" in listed
    assert [one["id"] for one in json.loads(data("list", "--json").out)] == [second, first]
    shown = data("show", first[:8]).out
    assert all(text in shown for text in (first, "int64", "2 cells found, 3 expected", "rows.csv"))
    assert json.loads(data("show", first, "--json").out)["refused"][0]["row"] == 3
    told = data("diff", first[:8], "latest", "--key", "id")
    assert all(text in told.out for text in ("1 (id=4)", "1 (id=1)", "33.33%"))
    assert "1 (id=2) duplicate keys" in told.err
    assert json.loads(data("diff", first, second, "--json").out)["removed"] == 1
    assert "1 removed" in data("prune", "--max-gb", "0").out
    assert [one["id"] for one in json.loads(data("list", "--json").out)] == [second]


def test_what_can_not_be_done_is_an_error_and_exit_status_1(data: Data) -> None:
    told = data("show", "abc")
    assert told.status == 1
    assert "0 found, one expected" in told.err
    (data.folder / "pipeline.yaml").write_text(PIPELINE.replace("rows.csv", "nothing.csv"))
    told = data("take", str(data.folder / "pipeline.yaml"), "--json")
    assert told.status == 1
    assert "nothing.csv: no file is there" in json.loads(told.err)["error"]["message"]
    (data.folder / "pipeline.yaml").write_text(PIPELINE.replace("path: rows.csv", "path: rows.csv, colour: red"))
    assert "line 4" in data("take", str(data.folder / "pipeline.yaml")).err
