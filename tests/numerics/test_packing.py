"""Counts to bytes and back, and what is refused on the way back."""

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_numerics import (
    Histogram,
    HistogramEdges,
    NumericsError,
    PackingError,
    pack_counts,
    pack_histogram,
    unpack_counts,
    unpack_histogram,
)
from shoal_numerics.histogram import MAX_ROWS

COUNTS = st.lists(st.one_of(st.integers(0, 300), st.integers(0, MAX_ROWS)), max_size=200)


def histogram_of_a_window() -> Histogram:
    random = np.random.default_rng(0)
    edges = HistogramEdges.equal_mass(random.standard_normal((5000, 30)), 100)
    return Histogram.of(edges, random.standard_normal((1000, 30)))


@given(COUNTS)
def test_packed_counts_come_back(counts: list[int]) -> None:
    packed = pack_counts(np.array(counts, dtype=np.int64))
    assert unpack_counts(packed, len(counts)).tolist() == counts


def test_packed_histogram_comes_back() -> None:
    histogram = histogram_of_a_window()
    again = unpack_histogram(pack_histogram(histogram), histogram.edges)
    assert again.counts.tolist() == histogram.counts.tolist()
    assert again.missing.tolist() == histogram.missing.tolist()
    again.add(np.zeros((1, 30)))
    assert again.row_count == 1001


def test_a_window_of_a_thousand_rows_of_thirty_features_packs_into_2_kb() -> None:
    assert len(pack_histogram(histogram_of_a_window())) <= 1600


@given(st.data())
@settings(max_examples=200)
def test_a_flipped_or_truncated_histogram_is_refused_or_still_adds_up(data: st.DataObject) -> None:
    edges = HistogramEdges.from_lists([[0.0, 1.0, 2.0], [5.0]])
    packed = bytearray(pack_histogram(Histogram.of(edges, np.arange(40).reshape(20, 2))))
    position = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        packed = packed[:position]
    else:
        packed[position] ^= data.draw(st.integers(1, 255))
    try:
        histogram = unpack_histogram(bytes(packed), edges)
    except PackingError:
        return
    assert (histogram.of_feature(0).sum() + histogram.missing[0]) == histogram.row_count


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_the_packages_own_error(junk: bytes) -> None:
    with pytest.raises(PackingError):
        unpack_histogram(b"SHH1" + junk, HistogramEdges.from_lists([[0.0]]))
    with pytest.raises(NumericsError):
        unpack_counts(b"\x28\xb5\x2f\xfd" + junk, 400)


def test_counts_of_another_baseline_are_refused() -> None:
    packed = pack_histogram(Histogram.empty(HistogramEdges.from_lists([[0.0]])))
    with pytest.raises(PackingError, match="another baseline"):
        unpack_histogram(packed, HistogramEdges.from_lists([[1.0]]))


def test_a_compression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    with pytest.raises(PackingError, match="names 50000000 bytes"):
        unpack_counts(bomb, 100)
    unnamed = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50_000_000))
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
        unpack_counts(zstandard.compress(octets), count)


def test_bytes_after_the_counts_are_refused() -> None:
    with pytest.raises(PackingError):
        unpack_counts(pack_counts(np.arange(5)) + b"more", 5)


@pytest.mark.parametrize("count", [-1, MAX_ROWS + 1])
def test_counts_out_of_range_are_not_packed(count: int) -> None:
    with pytest.raises(PackingError, match="expected 0 to"):
        pack_counts(np.array([count]))
