"""The delta codec: round trips, sizes, and bytes that were tampered with."""

import hashlib
import os
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_numerics import DeltaError, apply_delta, best_delta, encode_delta
from shoal_numerics.compressed import zstd
from shoal_numerics.delta import read_delta_header
from shoal_numerics.integer_difference import BLOCK_BYTES, ElementWidth

WIDTHS = st.sampled_from([1, 2, 4])
PAIRS = st.one_of(
    st.integers(0, 300).flatmap(
        lambda n: st.tuples(st.binary(min_size=n, max_size=n), st.binary(min_size=n, max_size=n))
    ),
    st.tuples(st.binary(max_size=300), st.binary(max_size=300)),
)


def trained_pair(elements: int = 200_000) -> tuple[bytes, bytes]:
    random = np.random.default_rng(0)
    old = (random.standard_normal(elements) * 0.05).astype(np.float32)
    return old.tobytes(), (old + random.standard_normal(elements) * 1e-4).astype(np.float32).tobytes()


@given(PAIRS, WIDTHS)
def test_the_result_is_the_new_file(pair: tuple[bytes, bytes], width: ElementWidth) -> None:
    old, new = pair
    delta = encode_delta(old, new, width)
    assert apply_delta(old, delta, len(new)) == new
    header = read_delta_header(delta)
    assert header.base_sha256 == hashlib.sha256(old).hexdigest()
    assert header.result_sha256 == hashlib.sha256(new).hexdigest()


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 5])
def test_files_around_the_size_of_a_block_come_back(width: ElementWidth, beyond: int) -> None:
    random = np.random.default_rng(0)
    old, new = (random.bytes(2 * BLOCK_BYTES + beyond) for _ in range(2))
    assert apply_delta(old, encode_delta(old, new, width), len(new)) == new


def test_a_fine_tuned_float32_model_costs_at_most_70_percent() -> None:
    old, new = trained_pair()
    delta = best_delta(old, new)
    assert delta is not None
    assert read_delta_header(delta).element_width == 4
    assert len(delta) < 0.7 * len(new)


def test_an_int8_model_with_five_percent_of_weights_moved_costs_at_most_8_percent() -> None:
    random = np.random.default_rng(0)
    old = random.integers(-60, 60, 200_000).astype(np.int8)
    new = old + (random.random(old.size) < 0.05).astype(np.int8)
    delta = best_delta(old.tobytes(), new.tobytes())
    assert delta is not None
    assert len(delta) < 0.08 * new.size


def test_a_few_bytes_put_in_cost_a_few_bytes() -> None:
    old, _ = trained_pair()
    new = old[:1001] + b"a new layer name" + old[1001:]
    delta = best_delta(old, new)
    assert delta is not None
    assert len(delta) < 2000
    assert apply_delta(old, delta, len(new)) == new


def test_no_delta_is_offered_where_the_full_file_is_no_larger() -> None:
    assert best_delta(os.urandom(1000), os.urandom(1000)) is None
    assert best_delta(b"", b"") is None
    assert best_delta(os.urandom(1000), b"small") is None


@pytest.mark.parametrize("lengths_differ", [False, True])
def test_a_delta_for_another_base_is_refused(lengths_differ: bool) -> None:
    old, new = trained_pair(1000)
    delta = encode_delta(old, new[:-4] if lengths_differ else new, 4)
    for other in (old[:-1] + b"x", old[:-1], b""):
        with pytest.raises(DeltaError, match="is not the one"):
            apply_delta(other, delta, len(new))


def test_a_result_above_the_limit_is_refused_before_any_work() -> None:
    old, new = trained_pair(1000)
    with pytest.raises(DeltaError, match="expected at most 3999"):
        apply_delta(old, encode_delta(old, new, 4), 3999)


@given(st.data())
@settings(max_examples=300)
def test_a_tampered_delta_gives_the_named_result_or_an_error(data: st.DataObject) -> None:
    old, new = trained_pair(300)
    new = data.draw(st.sampled_from([new, new + b"more"]))
    delta = bytearray(encode_delta(old, new, data.draw(WIDTHS)))
    position = data.draw(st.integers(0, len(delta) - 1))
    change = data.draw(st.sampled_from(["flip", "truncate", "append"]))
    if change == "flip":
        delta[position] ^= data.draw(st.integers(1, 255))
    elif change == "truncate":
        delta = delta[:position]
    else:
        delta += data.draw(st.binary(min_size=1, max_size=20))
    try:
        result = apply_delta(old, bytes(delta), len(new))
    except DeltaError:
        return
    assert result == new


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_delta_error(junk: bytes) -> None:
    old, new = trained_pair(20)
    header = encode_delta(old, new, 4)[:88]
    for delta in (junk, header + junk, header + b"\x28\xb5\x2f\xfd" + junk):
        with pytest.raises(DeltaError):
            apply_delta(old, delta, 10_000)


def header_bytes(mode: int, width: int, old: bytes, result_bytes: int, reserved: int = 0) -> bytes:
    base = hashlib.sha256(old).digest()
    return struct.pack("<4sBBHQQ32s32s", b"SHD1", mode, width, reserved, len(old), result_bytes, base, bytes(32))


@pytest.mark.parametrize(
    "header",
    [
        header_bytes(3, 1, b"old", 3),
        header_bytes(0, 1, b"old", 3),
        header_bytes(1, 3, b"old", 3),
        header_bytes(1, 0, b"old", 3),
        header_bytes(1, 1, b"old", 4),
        header_bytes(2, 4, b"old", 4),
        header_bytes(2, 1, b"old", 4, reserved=1),
        b"SHD2" + header_bytes(1, 1, b"old", 3)[4:],
    ],
)
def test_headers_that_contradict_themselves_are_refused(header: bytes) -> None:
    with pytest.raises(DeltaError, match="not a delta of this format"):
        apply_delta(b"old", header + zstd.compress(b"xyz"), 100)


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("names_its_size", [True, False])
def test_a_compression_bomb_takes_no_more_than_the_limit(mode: int, names_its_size: bool) -> None:
    old = bytes(1000)
    bomb = zstd.compress(bytes(100_000_000), options={zstd.CompressionParameter.content_size_flag: names_its_size})
    tracemalloc.start()
    try:
        with pytest.raises(DeltaError):
            apply_delta(old, header_bytes(mode, 1, old, 1000) + bomb, 1000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_a_frame_that_wants_a_giant_window_is_refused() -> None:
    old = bytes(1000)
    stream = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    frame = stream.compress(bytes(1000)) + stream.flush()
    with pytest.raises(DeltaError, match="may be read here"):
        apply_delta(old, header_bytes(1, 1, old, 1000) + frame, 1000)


def test_applying_takes_the_memory_of_the_result_and_a_few_blocks() -> None:
    old = bytes(16 * BLOCK_BYTES)
    new = old[:-1] + b"x"
    delta = encode_delta(old, new, 4)
    tracemalloc.start()
    try:
        assert apply_delta(old, delta, len(new)) == new
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(new) * 1.3 + 8 * BLOCK_BYTES


def test_other_element_widths_are_refused() -> None:
    with pytest.raises(DeltaError, match="element width is 3"):
        encode_delta(b"abc", b"abd", 3)  # type: ignore[arg-type]


def test_a_frame_that_holds_more_than_the_file_is_refused() -> None:
    old, new = trained_pair(100)
    delta = encode_delta(old, new, 4)
    stream = zstd.decompress(delta[88:])
    assert apply_delta(old, delta[:88] + zstd.compress(stream), len(new)) == new
    with pytest.raises(DeltaError, match="holds more than the expected 400 bytes"):
        apply_delta(old, delta[:88] + zstd.compress(stream + b"x"), len(new))
