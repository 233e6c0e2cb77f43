"""What docs/guides/training-data.md shows is what a pipeline file takes."""

import re
from pathlib import Path

import yaml

from shoal_training.ingestion.features import FeaturesSource
from shoal_training.ingestion.paging import BY_KIND as PAGING
from shoal_training.ingestion.sources import BY_KIND
from shoal_training.pipeline.definition import Ingestion

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "training-data.md").read_text()
SHOWN = [Ingestion.model_validate(yaml.safe_load(one)) for one in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]


def test_every_kind_of_source_is_shown_with_all_of_its_fields() -> None:
    sources = [source for one in SHOWN for source in one.sources]
    assert {type(one) for one in sources} == set(BY_KIND.values()) - {FeaturesSource}
    shown = {name for one in sources for name in one.model_fields_set}  # some are of several kinds
    for kind in set(BY_KIND.values()) - {FeaturesSource}:
        assert set(kind.model_fields) - shown - {"name"} == set(), kind.kind


def test_every_way_of_paging_is_told_with_its_fields() -> None:
    for name, kind in PAGING.items():
        assert name in GUIDE
        assert {field for field in kind.model_fields if field not in GUIDE} == set()
