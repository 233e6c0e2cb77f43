"""What docs/guides/several-models.md shows is what devices take and say."""

import json
import re
from pathlib import Path

from pydantic import TypeAdapter

from shoal_contract.compositions import DesiredComposition, Ensemble

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "several-models.md").read_text()
SHOWN = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)


def test_its_compositions_are_taken() -> None:
    wanted = TypeAdapter(dict[str, DesiredComposition]).validate_python(json.loads(SHOWN[0])["compositions"])
    assert {name: one.form.kind for name, one in wanted.items()} == {"bearing": "ensemble", "faces": "cascade"}
    assert set(json.loads(SHOWN[1])) == {"members", "answered_by", "answered_by_sample"}


def test_it_tells_of_every_way_to_combine() -> None:
    ways = Ensemble.model_json_schema()["properties"]["combine"]["enum"]
    assert [name for name in ways if f"`{name}`" not in GUIDE] == []
