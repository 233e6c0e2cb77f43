"""Decides what of a device's outbox can be committed. Pure.

A device numbers its outbox without gaps. Events and telemetry come over two connections, so they may overtake each
other; what is ahead of a gap waits, and what the device has given up counts as lost. A device that has lost its outbox
begins another stream, whose name is greater: whoever holds messages back and delivers those of an earlier one after it
is not heeded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shoal_contract.telemetry import OutboxPosition


@dataclass(frozen=True)
class Position:
    """The highest sequence of one stream that is committed, with everything before it."""

    stream: str = ""
    sequence: int = 0


@dataclass(frozen=True)
class Plan:
    """What becomes of the candidates, by their index.

    Attributes:
        position: The position once `commit` is committed.
        commit: In the order of their sequences. All others but `wait` are repetitions.
        wait: Ahead of a gap.
        lost: How many sequences can never come.
    """

    position: Position
    commit: tuple[int, ...]
    wait: tuple[int, ...]
    lost: int


def plan(position: Position, candidates: Sequence[OutboxPosition]) -> Plan:
    """Decide about candidates of one device.

    Args:
        position: What is committed.
        candidates: What has arrived, and what has waited since earlier, in any order; what is of an earlier stream is
            neither committed nor kept.
    """
    if _follow(position, candidates):
        return Plan(Position(position.stream, candidates[-1].sequence), tuple(range(len(candidates))), (), 0)
    commit: list[int] = []
    wait: list[int] = []
    lost = 0
    for stream in sorted({one.stream for one in candidates if one.stream >= position.stream}):
        mine = {one.sequence: index for index, one in enumerate(candidates) if one.stream == stream}
        oldest = [min(one.oldest, one.sequence) for one in candidates if one.stream == stream]
        start = position.sequence if stream == position.stream else min(oldest) - 1
        reached, indexes, skipped = _run(start, mine, max(oldest))
        position = Position(stream, reached)
        commit += indexes
        wait += [index for sequence, index in mine.items() if sequence > reached]
        lost += skipped
    return Plan(position, tuple(commit), tuple(wait), lost)


def _follow(position: Position, candidates: Sequence[OutboxPosition]) -> bool:
    """Whether these are just the next ones, as they nearly always are."""
    return bool(candidates) and all(
        one.stream == position.stream and one.sequence == sequence
        for sequence, one in enumerate(candidates, position.sequence + 1)
    )


def _run(reached: int, mine: dict[int, int], oldest: int) -> tuple[int, list[int], int]:
    """Go on from `reached` without a gap, or over one that the device says can never be filled."""
    indexes: list[int] = []
    lost = 0
    for sequence in sorted(one for one in mine if one > reached):
        # The device holds nothing older than `oldest`, so what is missing before it is gone.
        gone = max(0, min(sequence, oldest) - reached - 1)
        reached, lost = reached + gone, lost + gone
        if sequence != reached + 1:
            break
        reached = sequence
        indexes.append(mine[sequence])
    return reached, indexes, lost
