"""A job reads files within the folders that the device's owner allows, whatever its pattern is."""

from pathlib import Path

import pytest

from shoal_agent.batch import BatchError
from shoal_agent.batch_jobs.inputs import find_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = ("inputs/a.csv", "inputs/b.csv", "inputs/deep/c.csv", "inputs/x[1].csv")
    for name in (*inside, "other/d.csv", "secret/key.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x\n")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("?.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "c.csv", "x[1].csv"]),
        ("deep/c.csv", ["c.csv"]),
        ("x[[]1].csv", ["x[1].csv"]),
        ("{root}/other/*.csv", ["d.csv"]),
    ],
)
def test_what_matches_is_found_in_order(folder: Path, pattern: str, found: list[str]) -> None:
    allowed = (folder / "inputs", folder / "other")
    files = find_inputs(pattern.replace("{root}", str(folder)), allowed, 10)
    assert [Path(one).name for one in files] == found


@pytest.mark.parametrize(
    "pattern",
    ["../secret/key.csv", "*/../../secret/key.csv", "/etc/passwd", "/**/key.csv", "{root}/secret/*", "nothing*"],
)
def test_what_leads_elsewhere_or_nowhere_is_refused(folder: Path, pattern: str) -> None:
    with pytest.raises(BatchError):
        find_inputs(pattern.replace("{root}", str(folder)), (folder / "inputs",), 10)


def test_a_link_that_leads_out_is_refused(folder: Path) -> None:
    (folder / "inputs" / "z.csv").symlink_to(folder / "secret" / "key.csv")
    with pytest.raises(BatchError, match="expected a path within"):
        find_inputs("z.csv", (folder / "inputs",), 10)
    with pytest.raises(BatchError, match=r"a link leads to .*key\.csv"):
        find_inputs("*.csv", (folder / "inputs",), 10)
    (folder / "inputs" / "there").symlink_to(folder / "secret")
    with pytest.raises(BatchError, match="expected a path within"):
        find_inputs("there/*.csv", (folder / "inputs",), 10)


def test_more_files_than_a_job_takes_are_refused(folder: Path) -> None:
    with pytest.raises(BatchError, match="more than 1 match"):
        find_inputs("?.csv", (folder / "inputs",), 1)
