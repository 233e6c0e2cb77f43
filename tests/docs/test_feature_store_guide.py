"""What the guide of the feature store shows is what is read."""

import re
from pathlib import Path

import yaml
from tests.training.feature_store.clicks import DEFINITIONS

from shoal_contract.features import FeatureDefinition
from shoal_training.feature_store.definition import read_stream
from shoal_training.pipeline.definition import Ingestion

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "feature-store.md"


def blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_the_sources_of_the_guide_are_sources_of_a_pipeline() -> None:
    [source] = Ingestion.model_validate(yaml.safe_load(blocks()[0])["data_ingestion"]).sources
    assert source.kind == "features"


def test_the_stream_of_the_guide_is_the_one_that_the_tests_run(tmp_path: Path) -> None:
    file = tmp_path / "clicks.yaml"
    file.write_text(blocks()[1])
    read = read_stream(file)
    for name, definition in read.definitions.items():
        assert definition == FeatureDefinition.model_validate(DEFINITIONS[name])


def test_the_stream_of_kafka_in_the_guide_is_read(tmp_path: Path) -> None:
    file = tmp_path / "clicks.yaml"
    file.write_text(blocks()[2])
    read = read_stream(file)
    assert read.output is not None
    assert (read.events.kind, read.output.kind) == ("kafka", "kafka")
