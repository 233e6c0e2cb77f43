"""What docs/guides/features.md shows is what devices take and say."""

import re
from pathlib import Path

from shoal_contract.features import DesiredFeatures, FeatureDefinition
from shoal_numerics.features import WindowPlan

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "features.md").read_text()


def test_its_definitions_can_be_computed_and_its_pipeline_names_them() -> None:
    [shown, *_] = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    wanted = DesiredFeatures.model_validate_json(shown)
    for definition in wanted.definitions.values():
        assert isinstance(definition, FeatureDefinition)
        assert WindowPlan.of(definition).names == ("hum", "level")
    assert wanted.only("pumps") == wanted


def test_it_tells_of_every_source_sink_window_and_aggregate() -> None:
    schema = DesiredFeatures.model_json_schema()
    kinds = {one["properties"]["kind"]["const"] for one in schema["$defs"].values() if "const" in _kind(one)}
    aggregates = set(schema["$defs"]["Feature"]["properties"]["aggregate"]["enum"])
    assert {"camera", "hook", "time"} <= kinds
    assert {name for name in kinds | aggregates if f"`{name}`" not in GUIDE} == set()


def _kind(model: dict[str, dict[str, dict[str, object]]]) -> dict[str, object]:
    return model.get("properties", {}).get("kind", {})
