"""The guide of techniques that train says what there is."""

import re
from pathlib import Path

import yaml

from shoal_compression.techniques import BY_NAME
from shoal_compression.trainable.settings import Training

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "compression-training.md").read_text()


def test_its_steps_are_taken_as_they_stand() -> None:
    [steps] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]
    for step in steps:
        BY_NAME[step["technique"]].model_validate(step)


def test_its_table_has_every_technique_that_trains() -> None:
    named = set(re.findall(r"^\| `([a-z0-9-]+)` \|", GUIDE, re.MULTILINE))
    trained = {name for name, kind in BY_NAME.items() if "training" in kind.model_fields and "onnx" in kind.takes}
    assert named == trained | {"tree-compact"}, "what trains Keras models has a guide of its own"


def test_its_defaults_of_distillation_are_those_of_the_code() -> None:
    training = Training()
    assert (training.temperature, training.soft, training.hard) == (3.0, 0.7, 0.3)
    assert "Labels count 0.3 and the teacher's answers 0.7" in GUIDE
