"""A captured sample travels as one blob, and reads back as what it was or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.golden_captures import capture_record

from shoal_contract.captures import pack_capture, split_capture
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_CAPTURE_BYTES


@given(st.binary(max_size=200))
def test_a_sample_reads_back_as_it_was_packed(sample: bytes) -> None:
    assert split_capture(pack_capture(capture_record(), sample)) == (capture_record(), sample)


@given(st.binary(max_size=400))
def test_whatever_comes_is_a_sample_or_a_message_error(packed: bytes) -> None:
    with pytest.raises(MessageError):
        split_capture(packed)


def test_a_sample_beyond_the_bound_is_neither_packed_nor_read() -> None:
    with pytest.raises(MessageError, match="at most"):
        pack_capture(capture_record(), bytes(MAX_CAPTURE_BYTES))
    with pytest.raises(MessageError, match="at most"):
        split_capture(capture_record().to_bytes() + b"\n" + bytes(MAX_CAPTURE_BYTES))


def test_a_record_with_a_nul_in_it_is_refused() -> None:
    record = capture_record().model_copy(update={"request_id": "a\x00b"})
    with pytest.raises(MessageError, match="NUL"):
        split_capture(pack_capture(record, b""))


@pytest.mark.parametrize("name", ["", "../etc/passwd", "1772366400000-0A1B2C3D", "1-0a1b2c3d"])
def test_a_name_that_no_device_gives_is_refused(name: str) -> None:
    record = capture_record().model_copy(update={"name": name})
    with pytest.raises(MessageError, match="name"):
        split_capture(pack_capture(record, b""))
