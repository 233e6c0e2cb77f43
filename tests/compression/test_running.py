"""What is said of a file that its runtime does not load: of a step's, that the step is to blame, and of no other."""

import pytest

from shoal_compression.checking import check_result
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.running import load
from shoal_contract.manifest import TensorSpec

ENDS = (TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),)


@pytest.mark.parametrize(("form", "described"), [("onnx", "an ONNX model"), ("tflite", "a LiteRT model")])
def test_a_file_that_does_not_load_blames_no_step(form: Form, described: str) -> None:
    with pytest.raises(TechniqueError, match=f"loading {described} of 8 bytes: .*; give a file that its runtime loads"):
        load(Model(form, b"no model", ENDS, ENDS))


def test_what_a_step_made_and_nothing_loads_is_the_steps() -> None:
    with pytest.raises(TechniqueError, match=r"applying a: what it made does not load: .*; leave this step out"):
        check_result(Model("tflite", b"no model", ENDS, ENDS), "applying a")
