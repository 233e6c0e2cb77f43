"""The guide of training frameworks says what there is."""

import re
from pathlib import Path

import yaml

from shoal_training.frameworks.early_stopping import EarlyStopping
from shoal_training.frameworks.networks import BY_KIND, Own
from shoal_training.frameworks.own_network import build_own
from shoal_training.frameworks.trainers import BY_NAME
from shoal_training.frameworks.xgboost_trees import XGBoost
from shoal_training.launchers.launchers import BY_KIND as LAUNCHERS
from shoal_training.launchers.torchrun import Torchrun
from shoal_training.pipeline.reading import parse_pipeline

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "training-frameworks.md").read_text()
YAML = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def test_its_pipeline_and_its_trainers_are_taken_as_they_stand() -> None:
    pipeline, *trainers = YAML
    assert parse_pipeline(pipeline).model_training.compute == Torchrun(processes=2)
    for text in trainers:
        fields = yaml.safe_load(text)
        BY_NAME[fields.pop("framework")].model_validate(fields)


def test_its_tables_have_every_framework_and_every_network() -> None:
    named = re.findall(r"^\| `([a-z0-9]+)`", GUIDE, re.MULTILINE)
    assert set(named) - {"kind"} == {*BY_NAME, *BY_KIND}


def test_its_function_builds_a_network() -> None:
    [text] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    built = build_own(Own(build="net.py:build", parameters={"width": 7}), {"net.py": text}, (4,), 3)
    assert [tuple(one.shape) for one in built.parameters()] == [(7, 4), (7,), (3, 7), (3,)]


def test_its_defaults_are_those_of_the_code() -> None:
    assert "{launcher: torchrun, processes: 2, max_restarts: 3, threads: 1}" in GUIDE
    assert Torchrun() == Torchrun(processes=2, max_restarts=3, threads=1)
    assert {"local", "torchrun"} < set(LAUNCHERS)
    assert "watches a tenth" in GUIDE
    assert EarlyStopping().watched_ratio == 0.1
    assert "every 50 rounds" in GUIDE
    assert XGBoost().checkpoint_rounds == 50
