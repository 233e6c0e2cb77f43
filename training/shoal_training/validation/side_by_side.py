"""Does one thing to several columns at a time: Arrow, NumPy and RE2 let other threads work while they do."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

ROWS: Final = 100_000
"""Of fewer, threads would take longer to start than the work does."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def side_by_side(work: Callable[[_Item], _Result], items: Iterable[_Item], rows: int) -> list[_Result]:
    """Return what work makes of each item, in order; the first error is raised."""
    waiting = list(items)
    threads = min(len(waiting), os.cpu_count() or 1)
    if rows < ROWS or threads < 2:  # noqa: PLR2004 - nothing to share
        return [work(one) for one in waiting]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, waiting))
