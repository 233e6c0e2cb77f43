"""Files in which things have moved: what is found, what it costs, and tables that were tampered with."""

import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_numerics import DeltaError, apply_delta, best_delta
from shoal_numerics.aligned_difference import (
    LINE_BYTES,
    Stretch,
    aligned_blocks,
    apply_aligned,
    block_sizes,
    read_table,
    write_table,
)
from shoal_numerics.alignment import MAX_SHIFTS, WINDOW_BYTES, align
from shoal_numerics.compressed import compress, decompress_parts
from shoal_numerics.delta import read_delta_header
from shoal_numerics.integer_difference import BLOCK_BYTES

RANDOM = np.random.default_rng(0)
INT8 = RANDOM.integers(-60, 60, 100_000).astype(np.int8)
INT8_TUNED = (INT8 + (RANDOM.random(INT8.size) < 0.2)).astype(np.int8)
FLOATS = (RANDOM.standard_normal(40_000) * 0.05).astype(np.float32)
FLOATS_TUNED = (FLOATS + RANDOM.standard_normal(FLOATS.size) * 1e-4).astype(np.float32)


def there_and_back(old: bytes, new: bytes, stretches: list[Stretch]) -> bytes:
    """Take the differences through their wire form."""
    table = write_table(stretches)
    assert len(table) == LINE_BYTES * len(stretches)
    read = read_table(table, len(old), len(new))
    frame = compress(b"".join(aligned_blocks(old, new, stretches)))
    return apply_aligned(old, decompress_parts(frame, block_sizes(read)), read)


PIECES = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8)


@st.composite
def edited(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a file of a few pieces, and one in which they are left out, repeated, moved and changed."""
    pieces = [piece * draw(st.integers(1, 3)) for piece in draw(PIECES)]
    chosen = draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=50), max_size=10))
    new = bytearray(b"".join(chosen))
    for position in draw(st.lists(st.integers(0, max(0, len(new) - 1)), max_size=5 if new else 0)):
        new[position] ^= draw(st.integers(1, 255))
    return b"".join(pieces), bytes(new)


@given(edited())
@settings(max_examples=100)
def test_stretches_fill_the_new_file_and_give_it_back(pair: tuple[bytes, bytes]) -> None:
    old, new = pair
    stretches = align(old, new)
    assert sum(one.size_bytes for one in stretches) == len(new)
    if new:
        assert there_and_back(old, new, stretches) == new


@pytest.mark.parametrize("beyond", [-1, 0, 1, WINDOW_BYTES + 3])
@pytest.mark.parametrize("kept", [0, 7, WINDOW_BYTES])
def test_files_around_the_size_of_windows_and_blocks_come_back(beyond: int, kept: int) -> None:
    old = RANDOM.bytes(BLOCK_BYTES + beyond)
    new = RANDOM.bytes(kept) + old + RANDOM.bytes(3)
    assert there_and_back(old, new, align(old, new)) == new


@pytest.mark.parametrize("moved", [1, 2, 3, 5, 100])
def test_an_int8_model_behind_a_longer_name_costs_about_as_much_as_one_in_place(moved: int) -> None:
    old, new = INT8.tobytes(), INT8_TUNED.tobytes()
    in_place, behind = best_delta(old, new), best_delta(old, b"n" * moved + new)
    assert in_place is not None
    assert behind is not None
    assert len(behind) < 1.02 * len(in_place) + 100
    assert read_delta_header(behind).mode == "aligned"
    assert apply_delta(old, behind, len(new) + moved) == b"n" * moved + new


def test_float32_at_any_position_is_taken_as_float32() -> None:
    plain = best_delta(FLOATS.tobytes(), FLOATS_TUNED.tobytes())
    assert plain is not None
    for phase in range(4):
        head = bytes(phase)
        delta = best_delta(head + FLOATS.tobytes(), head + FLOATS_TUNED.tobytes())
        assert delta is not None
        assert len(delta) < 1.01 * len(plain) + 100


def test_a_tensor_of_which_every_word_has_changed_is_found_by_what_is_around_it() -> None:
    plain = best_delta(FLOATS.tobytes(), FLOATS_TUNED.tobytes())
    delta = best_delta(b"name" + FLOATS.tobytes(), b"longer name" + FLOATS_TUNED.tobytes())
    assert plain is not None
    assert delta is not None
    assert len(delta) < 1.01 * len(plain) + 100


def test_a_file_of_int8_and_float32_costs_what_both_cost_alone() -> None:
    parts = ((INT8.tobytes(), INT8_TUNED.tobytes()), (FLOATS.tobytes(), FLOATS_TUNED.tobytes()))
    alone = [best_delta(old, new) for old, new in parts]
    old, new = (b"".join(side) for side in zip(*parts, strict=True))
    both = best_delta(old, new)
    assert both is not None
    assert len(both) < 1.02 * sum(len(one) for one in alone if one is not None)
    assert apply_delta(old, both, len(new)) == new


def test_tensors_that_changed_places_are_found() -> None:
    tensors = [RANDOM.bytes(10_000) for _ in range(MAX_SHIFTS // 3)]
    old, new = b"".join(tensors), b"".join(tensors[::-1])
    delta = best_delta(old, new)
    assert delta is not None
    assert len(delta) < 0.02 * len(new)
    assert {one.old_start for one in align(old, new)} >= {10_000 * index for index in range(len(tensors))}


def test_stretches_of_about_one_window_come_back() -> None:
    old = RANDOM.bytes(4000)
    for size in range(WINDOW_BYTES // 2, 2 * WINDOW_BYTES, 7):
        starts = range(0, 3200, 400)
        new = b"".join(old[start + size : start + 2 * size] for start in starts)
        assert there_and_back(old, new, align(old, new)) == new


def test_the_dictionary_is_not_taken_for_a_few_bytes_less() -> None:
    """It costs the device a copy of the base, and here it would save some of the table."""
    old = RANDOM.bytes(200_000)
    new = b"put in" + old[:100_000] + b"put in" + old[100_000:]
    delta = best_delta(old, new)
    assert delta is not None
    assert read_delta_header(delta).mode == "aligned"


def test_applying_takes_the_memory_of_the_result_and_a_few_blocks() -> None:
    old = bytes(16 * BLOCK_BYTES)
    new = b"moved" + old
    body = [Stretch(5, None, 1), Stretch(len(old), 0, 4)]
    delta = aligned(old, new, body)
    tracemalloc.start()
    try:
        assert apply_delta(old, delta, len(new)) == new
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(new) * 1.3 + 8 * BLOCK_BYTES


def aligned(old: bytes, new: bytes, stretches: list[Stretch], table: bytes | None = None) -> bytes:
    """Return a patch as its writer would lay it out, with a table of one's own."""
    table = write_table(stretches) if table is None else table
    hashes = hashlib.sha256(old).digest() + hashlib.sha256(new).digest()
    header = struct.pack("<4sBBHQQ", b"SHD1", 3, 1, len(table) // LINE_BYTES, len(old), len(new)) + hashes
    packed = compress(table)
    return header + struct.pack("<I", len(packed)) + packed + compress(b"".join(aligned_blocks(old, new, stretches)))


@pytest.mark.parametrize(
    "line",
    [(8, 93, 4), (8, 2**64 - 1, 1), (8, 2**64 - 4, 4), (6, 0, 4), (8, 0, 3), (8, 1, 0), (0, 0, 1), (2**32 - 1, 0, 1)],
)
def test_a_table_that_leaves_the_base_or_cuts_elements_is_refused(line: tuple[int, int, int]) -> None:
    old, new = bytes(100), bytes(8)
    table = struct.pack("<IQB", *line)
    with pytest.raises(DeltaError, match="Applying a delta: found a stretch"):
        apply_delta(old, aligned(old, new, [Stretch(8, 0, 1)], table), 8)


@pytest.mark.parametrize("sizes", [(8, 8), (4,), (4, 3), (2**31, 2**31)])
def test_a_table_that_does_not_fill_the_result_is_refused(sizes: tuple[int, ...]) -> None:
    old, new = bytes(100), bytes(8)
    table = b"".join(struct.pack("<IQB", size, 0, 0) for size in sizes)
    with pytest.raises(DeltaError, match="its table covers"):
        apply_delta(old, aligned(old, new, [Stretch(8, 0, 1)], table), 8)


@given(st.data())
@settings(max_examples=100)
def test_a_tampered_patch_gives_the_named_result_or_an_error(data: st.DataObject) -> None:
    old, new = INT8[:400].tobytes(), b"moved" + INT8_TUNED[:300].tobytes()
    delta = bytearray(aligned(old, new, align(old, new)))
    position = data.draw(st.integers(0, len(delta) - 1))
    if data.draw(st.booleans()):
        delta[position] ^= data.draw(st.integers(1, 255))
    else:
        delta = delta[:position]
    try:
        result = apply_delta(old, bytes(delta), len(new))
    except DeltaError:
        return
    assert result == new


def test_too_many_stretches_are_refused() -> None:
    with pytest.raises(DeltaError, match="expected 1 to 65535"):
        write_table([Stretch(1, 0, 1)] * 65_536)
