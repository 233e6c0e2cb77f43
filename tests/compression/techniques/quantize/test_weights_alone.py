"""Dynamic int8 and 4-bit weights."""

import onnx
import pytest
from tests.compression.techniques.quantize.nets import outliers, products

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.errors import TechniqueError
from shoal_compression.running import outputs_of
from shoal_compression.techniques.quantize.dynamic import Int8Dynamic
from shoal_compression.techniques.quantize.int4_weights import Int4Weights


def operators(content: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(content).graph.node}


def test_dynamic_products_stay_close() -> None:
    model, data = products()
    made = Int8Dynamic().apply(model, data, Budget())
    assert "DynamicQuantizeLinear" in operators(made.content)
    assert sqnr_db(*(outputs_of(one, data.test)["y"] for one in (model, made))) > 30


def test_convolutions_are_left_in_float_where_asked() -> None:
    model, data = outliers(spread=0)
    made = Int8Dynamic(convolutions=False).apply(model, data, Budget())
    assert "Conv" in operators(made.content)
    assert "ConvInteger" in operators(Int8Dynamic().apply(model, data, Budget()).content)


@pytest.mark.parametrize(("form", "operator"), [("operator", "MatMulNBits"), ("qdq", "DequantizeLinear")])
def test_four_bits_run_in_either_form(form: str, operator: str) -> None:
    model, data = products()
    made = Int4Weights.model_validate({"form": form}).apply(model, data, Budget())
    assert operator in operators(made.content)
    assert sqnr_db(*(outputs_of(one, data.test)["y"] for one in (model, made))) > 12


def test_smaller_blocks_come_closer_and_take_more() -> None:
    model, data = products()
    coarse, fine = (Int4Weights.model_validate({"block": block}).apply(model, data, Budget()) for block in (32, 16))
    near = [sqnr_db(*(outputs_of(one, data.test)["y"] for one in (model, made))) for made in (coarse, fine)]
    assert near[1] > near[0]
    assert fine.size_bytes > coarse.size_bytes


def test_products_smaller_than_a_block_have_nothing_in_four_bits() -> None:
    model, data = outliers(spread=0)
    with pytest.raises(TechniqueError, match="use int8-static"):
        Int4Weights(block=128).apply(model, data, Budget())
