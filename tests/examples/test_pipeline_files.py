"""The example pipelines are files that can be read, and find the data that they name."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from examples.pipelines.data import HERE, MEASURED, SERIES, SOURCES, WINDOW, WRITERS, motion
from examples.pipelines.walk import RECIPES

from shoal_training.ingestion.source import Reading
from shoal_training.pipeline.reading import parse_pipeline, read_pipeline

NAMES = sorted(one.parent.name for one in HERE.glob("*/pipeline.yaml"))
MOTIONS = ("Standing", "Running", "Walking", "Badminton")


def test_each_pipeline_has_data_a_source_and_recipes() -> None:
    assert NAMES == sorted(WRITERS) == sorted(SOURCES) == sorted(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_a_pipeline_whose_data_has_the_columns_that_it_learns_from(name: str, tmp_path: Path) -> None:
    pipeline = read_pipeline(HERE / name / "pipeline.yaml").pipeline
    if name == "motion":
        motion(tmp_path / "data", wheel_of(tmp_path / "aeon.whl", recordings=2))
    else:
        WRITERS[name](tmp_path / "data")
    [source] = pipeline.data_ingestion.sources
    columns = next(iter(source.tables(Reading(tmp_path)))).column_names
    training, scheme = pipeline.model_training, pipeline.model_evaluation.validation_scheme
    assert {*training.inputs, training.target, *scheme.columns()} <= set(columns)
    assert pipeline.card.data
    assert pipeline.card.limits


def test_the_guide_names_each_pipeline_and_its_compute_is_one_that_there_is() -> None:
    guide = (HERE.parents[1] / "docs" / "guides" / "example-pipelines.md").read_text()
    assert all(f"examples/pipelines/{name}/pipeline.yaml" in guide for name in NAMES)
    [text] = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    fields = parse_pipeline(f"name: a\ndata_ingestion: {{sources: [{{path: a.csv}}]}}\n{text}")
    assert fields.model_training.compute.kind == "kubernetes"
    assert all(f"`{recipe}`" in guide for recipes in RECIPES.values() for recipe in recipes)


def test_windows_know_the_recording_that_they_are_cut_from(tmp_path: Path) -> None:
    motion(tmp_path / "data", wheel_of(tmp_path / "aeon.whl", recordings=3))
    found = np.load(tmp_path / "data" / "windows.npz")
    assert found["window"].shape == (2 * 3 * 6, WINDOW, 6)
    assert found["recording"].tolist() == [number for number in range(6) for _ in range(6)]
    assert found["motion"][:12].tolist() == ["standing"] * 6 + ["running"] * 6
    np.testing.assert_array_equal(found["window"][1, :40], found["window"][0, 10:], "a second apart")


def test_patients_are_as_many_fast_as_slow_and_named_by_what_was_measured(tmp_path: Path) -> None:
    WRITERS["progression"](tmp_path / "data")
    names, *rows = [line.split(",") for line in (tmp_path / "data" / "patients.csv").read_text().splitlines()]
    assert names == ["patient", *MEASURED, "course"]
    assert (len(rows), {row[-1] for row in rows}) == (442, {"fast", "slow"})
    assert sum(row[-1] == "fast" for row in rows) == 221


def wheel_of(path: Path, recordings: int) -> Path:
    """Write a wheel with a few recordings in the form of those in aeon's."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("TRAIN", "TEST"):
            lines = [
                ":".join([*(",".join(f"{value:.4f}" for value in row) for row in random.normal(size=(6, 100))), label])
                for label in MOTIONS[:recordings]
            ]
            archive.writestr(SERIES.format(part=part), "# told\n@data\n" + "\n".join(lines) + "\n")
    return path
