"""Finds for each stretch of a new file the stretch of an old one that it was made from, and what its elements are.

Two versions of a model hold the same tensors, but a name or a number that is a byte longer moves all that follows, and
one file holds elements of several widths. A path of least cost (Viterbi, IEEE Trans. Inf. Theory 13(2), 1967) through
windows of the new file decides on both, where the cost is about the bits that a compressor needs for the differences.
`aligned_difference` makes the patch of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_numerics.aligned_difference import Stretch
from shoal_numerics.integer_difference import BLOCK_BYTES, ElementWidth

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_BYTES: Final = 64
"""Bytes of the new file that are decided on together; where one stretch ends and the next begins is then made exact."""
MAX_SHIFTS: Final = 24
"""Distances between the two files that are looked at: those that most words of the files have in common."""

_WORD_BYTES: Final = 8
_OTHER_SHIFT_BITS: Final = 64
"""What it costs to go on at another distance: a line of the table."""
_OTHER_WIDTH_BITS: Final = 500
"""What it costs to go on with elements of another width: a line, and a compressor that has to adapt."""
_UNKNOWN_BITS: Final = 8
_SAME_BITS: Final = {2: 3, 4: 4}
"""What an element costs that has not changed, by width; one of a lone byte costs 1."""
_CHANGED_BITS: Final = {2: 4, 4: 3}
"""What an element costs that has, beside the digits. More for two bytes, as halves of four look like elements too."""
_FORMS: Final[tuple[tuple[ElementWidth, int], ...]] = ((1, 0), (2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3))
"""Width of an element, and the rest of its position by the width."""


def align(old: bytes, new: bytes) -> list[Stretch]:
    """Return the stretches of the new file in order; their counterparts lie within the old one.

    It takes about a second of CPU for 3 MB, and six times the memory of the new file.
    """
    if not new:
        return []
    shifts = [None, *_candidate_shifts(old, new)]
    source = np.frombuffer(old, dtype=np.uint8)
    result = np.frombuffer(new, dtype=np.uint8)
    costs = np.stack([_window_sums(_byte_bits(source, result, shift)) for shift in shifts], axis=1)
    path = _cheapest_path(costs, _OTHER_SHIFT_BITS)
    switches = _switches(path)
    exact = (_exact_bound(source, result, bound, shifts[before], shifts[after]) for bound, before, after in switches)
    bounds = [0, *accumulate(exact, max), len(new)]
    of_parts = [shifts[path[0]], *(shifts[after] for _, _, after in switches)]
    parts = zip(bounds[:-1], bounds[1:], of_parts, strict=True)
    return [one for start, end, shift in parts if start < end for one in _stretches(source, result, start, end, shift)]


def _candidate_shifts(old: bytes, new: bytes) -> list[int]:
    """Return distances from new to old: at both ends, and where the most words of 8 bytes are the same.

    Of a tensor every word may have changed; what lies before or behind it in both files then tells where it is.
    """
    words, starts = _words(old, 0)
    unique, first, counts = np.unique(words, return_index=True, return_counts=True)
    unique, starts = unique[counts == 1], starts[first[counts == 1]]
    at_ends = sorted({0, len(old) - len(new)})
    found: list[NDArray[np.int64]] = []
    for phase in range(_WORD_BYTES if len(unique) else 0):
        wanted, at = _words(new, phase)
        position = np.minimum(np.searchsorted(unique, wanted), len(unique) - 1)
        is_same = unique[position] == wanted
        found.append(starts[position[is_same]] - at[is_same])
    if not found:
        return at_ends
    shifts, votes = np.unique(np.concatenate(found), return_counts=True)
    most = shifts[np.argsort(-votes, kind="stable")].tolist()
    return list(dict.fromkeys([*at_ends, *most]))[:MAX_SHIFTS]


def _words(data: bytes, phase: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the words of 8 bytes from a position on, and where each begins."""
    count = max(0, len(data) - phase) // _WORD_BYTES
    words = np.frombuffer(data, dtype="<u8", count=count, offset=phase if count else 0)
    return words, np.arange(count, dtype=np.int64) * _WORD_BYTES + phase


def _byte_bits(old: NDArray[np.uint8], new: NDArray[np.uint8], shift: int | None) -> NDArray[np.uint8]:
    """Return, by byte of the new file, about what its difference costs at this shift, in bits."""
    bits = np.full(len(new), _UNKNOWN_BITS + 1, dtype=np.uint8)
    if shift is None:
        bits[:] = _UNKNOWN_BITS
        return bits
    start, end = max(0, -shift), min(len(new), len(old) - shift)
    if start < end:
        change = new[start:end] - old[start + shift : end + shift]
        bits[start:end] = _bits_of_byte()[change]
    return bits


@cache
def _bits_of_byte() -> NDArray[np.uint8]:
    change = np.arange(256)
    distance = np.minimum(change, 256 - change)
    return np.ceil(np.where(distance == 0, 1, np.minimum(2 * np.log2(distance + 1) + 1, 8))).astype(np.uint8)


def _window_sums(bits: NDArray[np.uint8]) -> NDArray[np.int32]:
    starts = np.arange(0, len(bits), WINDOW_BYTES)
    return np.add.reduceat(bits, starts, dtype=np.int32)


def _cheapest_path(costs: NDArray[np.int32], change_bits: int) -> NDArray[np.intp]:
    """Return the choice for each window, (windows, choices) int32 to (windows,), where a change costs as well."""
    windows, choices = costs.shape
    came_from = np.empty((windows, choices), dtype=np.uint8)
    stay, total = np.arange(choices, dtype=np.uint8), costs[0].astype(np.int64)
    for window in range(1, windows):
        best = int(total.argmin())
        changed = int(total[best]) + change_bits
        is_changed = total > changed
        came_from[window] = np.where(is_changed, best, stay)
        total = np.minimum(total, changed) + costs[window]
    path = np.empty(windows, dtype=np.intp)
    path[-1] = total.argmin()
    for window in range(windows - 1, 0, -1):
        path[window - 1] = came_from[window, path[window]]
    return path


def _switches(path: NDArray[np.intp]) -> list[tuple[int, int, int]]:
    """Return where the choice changes, in bytes, and the choices before and after."""
    changes = np.flatnonzero(path[1:] != path[:-1]) + 1
    return [(int(at) * WINDOW_BYTES, int(path[at - 1]), int(path[at])) for at in changes]


def _exact_bound(
    old: NDArray[np.uint8], new: NDArray[np.uint8], bound: int, before: int | None, after: int | None
) -> int:
    """Move the bound between two shifts to where both sides together cost least."""
    start, end = bound - WINDOW_BYTES, min(len(new), bound + WINDOW_BYTES)
    gain = _bits_within(old, new, start, end, before) - _bits_within(old, new, start, end, after)
    return start + int(np.concatenate(([0], np.cumsum(gain))).argmin())


def _bits_within(
    old: NDArray[np.uint8], new: NDArray[np.uint8], start: int, end: int, shift: int | None
) -> NDArray[np.int64]:
    moved = shift if shift is None else shift + start
    return _byte_bits(old, new[start:end], moved).astype(np.int64)


def _stretches(
    old: NDArray[np.uint8], new: NDArray[np.uint8], start: int, end: int, shift: int | None
) -> Iterator[Stretch]:
    """Divide a part of one shift: what leaves the old file has no counterpart, the rest goes by the width."""
    first, last = (end, end) if shift is None else (max(start, -shift), min(end, len(old) - shift))
    if shift is None or first >= last:
        yield Stretch(end - start, None, 1)
        return
    if first > start:
        yield Stretch(first - start, None, 1)
    for at, size_bytes, width in _by_width(old[first + shift : last + shift], new[first:last]):
        yield Stretch(size_bytes, first + shift + at, width)
    if last < end:
        yield Stretch(end - last, None, 1)


def _by_width(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> Iterator[tuple[int, int, ElementWidth]]:
    """Yield start, size and width of what holds elements of one width."""
    costs = np.stack([_form_bits(old, new, width, phase) for width, phase in _FORMS], axis=1)
    path = _cheapest_path(costs, _OTHER_WIDTH_BITS)
    switches = _switches(path)
    bounds = [0, *(bound for bound, _, _ in switches), len(new)]
    forms = [_FORMS[path[0]], *(_FORMS[after] for _, _, after in switches)]
    return _whole_elements(bounds, forms)


def _whole_elements(
    bounds: Sequence[int], forms: Sequence[tuple[ElementWidth, int]]
) -> Iterator[tuple[int, int, ElementWidth]]:
    """Yield start, size and width of parts that hold whole elements; bytes between them are elements of one byte."""
    done = 0
    for begin, end, (width, phase) in zip(bounds[:-1], bounds[1:], forms, strict=True):
        first = done + (phase - done) % width if begin < end else done
        size_bytes = (end - first) // width * width
        if size_bytes <= 0:
            continue
        if first > done:
            yield done, first - done, 1
        yield first, size_bytes, width
        done = first + size_bytes
    if done < bounds[-1]:
        yield done, bounds[-1] - done, 1


def _form_bits(old: NDArray[np.uint8], new: NDArray[np.uint8], width: ElementWidth, phase: int) -> NDArray[np.int32]:
    """Return, by window, about the bits of the differences of elements of this width and phase."""
    starts = range(0, len(new), BLOCK_BYTES)
    blocks = (slice(start, start + BLOCK_BYTES) for start in starts)
    return np.concatenate([_form_bits_of_block(old[block], new[block], width, phase) for block in blocks])


def _form_bits_of_block(
    old: NDArray[np.uint8], new: NDArray[np.uint8], width: ElementWidth, phase: int
) -> NDArray[np.int32]:
    if width == 1:
        return _window_sums(_bits_of_byte()[new - old])
    bits = np.full(len(new), _UNKNOWN_BITS, dtype=np.uint8)
    count = max(0, len(new) - phase) // width
    inside = slice(phase, phase + count * width)
    change = (_as_integers(new[inside], width) - _as_integers(old[inside], width)).view(f"<i{width}")
    distance = np.abs(change.astype(np.float32))
    changed_bits = np.minimum(np.log2(distance + 1) + _CHANGED_BITS[width], 8 * width)
    bits[inside] = 0
    bits[phase : phase + count * width : width] = np.where(change == 0, _SAME_BITS[width], changed_bits)
    return _window_sums(bits)


def _as_integers(part: NDArray[np.uint8], width: ElementWidth) -> NDArray[np.unsignedinteger]:
    return np.frombuffer(part.tobytes(), dtype=f"<u{width}")
