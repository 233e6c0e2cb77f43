"""Counts to bytes and back, and what is refused on the way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_numerics import (
    Histogram,
    HistogramEdges,
    PackingError,
    pack_counts,
    unpack_counts,
)
from shoal_numerics.compressed import zstd
from shoal_numerics.histogram import MAX_ROWS

COUNTS = st.lists(st.one_of(st.integers(0, 300), st.integers(0, MAX_ROWS)), max_size=200)


@given(COUNTS)
def test_packed_counts_come_back(counts: list[int]) -> None:
    packed = pack_counts(np.array(counts, dtype=np.int64))
    assert unpack_counts(packed, len(counts)).tolist() == counts


def test_many_counts_come_back() -> None:
    counts = np.arange(40_000, dtype=np.int64) ** 3
    assert (unpack_counts(pack_counts(counts), len(counts)) == counts).all()


def test_a_window_of_a_thousand_rows_of_thirty_features_packs_into_2_kb() -> None:
    random = np.random.default_rng(0)
    edges = HistogramEdges.equal_mass(random.standard_normal((5000, 30)), 100)
    window = Histogram.of(edges, random.standard_normal((1000, 30)))
    packed = pack_counts(window.padded().ravel())
    assert len(packed) <= 1600
    again = Histogram.from_padded(edges, unpack_counts(packed, 3000), window.missing)
    assert again.counts.tolist() == window.counts.tolist()


@given(st.data())
@settings(max_examples=200)
def test_flipped_or_truncated_bytes_are_refused_or_give_counts_in_range(data: st.DataObject) -> None:
    packed = bytearray(pack_counts(np.arange(0, 4000, 50)))
    position = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        packed = packed[:position]
    else:
        packed[position] ^= data.draw(st.integers(1, 255))
    try:
        counts = unpack_counts(bytes(packed), 80)
    except PackingError:
        return
    assert counts.shape == (80,)
    assert 0 <= counts.min() <= counts.max() <= MAX_ROWS


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_the_packages_own_error(junk: bytes) -> None:
    for data in (junk, b"\x28\xb5\x2f\xfd" + junk):
        with pytest.raises(PackingError):
            unpack_counts(data, 400)


def test_a_compression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstd.compress(bytes(50_000_000))
    with pytest.raises(PackingError, match="names 50000000 bytes"):
        unpack_counts(bomb, 100)
    unnamed = zstd.compress(bytes(50_000_000), options={zstd.CompressionParameter.content_size_flag: 0})
    with pytest.raises(PackingError, match="Unpacking counts"):
        unpack_counts(unnamed, 100)


@pytest.mark.parametrize(
    ("octets", "count"),
    [
        (b"\x01\x02", 1),
        (b"\x01\x80", 1),
        (b"\x81", 1),
        (b"\x81\x00", 1),
        (b"\x80" * 7 + b"\x01", 2),
        (b"\xff" * 6 + b"\x7f", 1),
        (b"\x01", 2),
        (b"", 1),
    ],
)
def test_malformed_integers_are_refused(octets: bytes, count: int) -> None:
    with pytest.raises(PackingError, match="Unpacking counts"):
        unpack_counts(zstd.compress(octets), count)


def test_bytes_after_the_counts_are_refused() -> None:
    with pytest.raises(PackingError):
        unpack_counts(pack_counts(np.arange(5)) + b"more", 5)


@pytest.mark.parametrize("count", [-1, MAX_ROWS + 1])
def test_counts_out_of_range_are_not_packed(count: int) -> None:
    with pytest.raises(PackingError, match="expected 0 to"):
        pack_counts(np.array([count]))
