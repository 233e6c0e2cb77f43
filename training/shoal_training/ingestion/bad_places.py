"""Parts what can be read from what can not, where only trying tells and most can."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def bad_places(items: Sequence[Item], problem: Callable[[Sequence[Item]], str]) -> Iterator[tuple[int, str]]:
    """Yield the places of the items that have a problem alone, with the problem, in order.

    Halves are tried until they have none or hold one item: few bad ones among n cost log n attempts each.

    Args:
        items: What is tried; slices of it are.
        problem: Says what is wrong with some of them together; empty: nothing.
    """
    waiting = [(0, len(items))]
    while waiting:
        start, end = waiting.pop()
        told = problem(items[start:end]) if end > start else ""
        if not told:
            continue
        if end - start == 1:
            yield start, told
            continue
        middle = (start + end) // 2
        waiting += [(middle, end), (start, middle)]
