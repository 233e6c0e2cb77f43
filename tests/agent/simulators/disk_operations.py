"""What a process asks of its disk, and what a power cut leaves of it. Pure.

The disk keeps what was synced: a file's bytes by an fsync of the file, names by one of the folder that they are in.
Of all else it keeps what an `Outcome` says: nothing, a part of a write, single sectors, or the later before the
earlier, as a disk's cache and a file system's journal do. The model is that of Pillai et al., "All File Systems Are Not
Created Equal" (OSDI 2014), with no promise of any file system beyond POSIX.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

SECTOR_BYTES = 512
Kind = Literal["create", "write", "truncate", "sync", "sync folder", "rename", "unlink", "mkdir"]
Tree = Mapping[str, "bytes | None"]
"""Files by their path below the disk's root; None stands for a folder."""
NAMES = ("create", "rename", "unlink", "mkdir")


@dataclass(frozen=True)
class Operation:
    """One call. `node` is the file, whatever its name becomes; `target` is a rename's."""

    kind: Kind
    path: str
    node: int = 0
    target: str = ""
    offset: int = 0
    data: bytes = field(default=b"", repr=False)
    size: int = 0

    @property
    def folder(self) -> str:
        """Where the name is that it makes or takes away."""
        return str(PurePosixPath(self.path).parent)


class Outcome(NamedTuple):
    """What a cut leaves of that which was not synced.

    Attributes:
        name: For people.
        names: Of the changes to names: all, none, or the last one without those before it.
        data: Of the writes: all, none, none but the size of the file, half of the last, every other sector or so, or
            the last one without those before it.
    """

    name: str
    names: Literal["all", "none", "last"]
    data: Literal["all", "none", "size", "half", "sectors", "last"]

    @property
    def is_within(self) -> bool:
        """Whether the power goes while the next write is under way, and not before it."""
        return self.data in {"half", "sectors"}


OUTCOMES = (
    Outcome("all kept", "all", "all"),
    Outcome("all lost", "none", "none"),
    Outcome("names lost", "none", "all"),
    Outcome("data lost", "all", "none"),
    Outcome("only sizes", "all", "size"),
    Outcome("torn write", "all", "half"),
    Outcome("some sectors", "all", "sectors"),
    Outcome("reordered", "last", "last"),
)


@dataclass(frozen=True)
class Recording:
    """A disk as it was, all of it durable, and what was asked of it since; `nodes` number the files of `start`."""

    start: Tree
    nodes: Mapping[str, int]
    operations: Sequence[Operation]


def image(recording: Recording, point: int, outcome: Outcome) -> dict[str, bytes | None]:
    """Return the disk as the next start finds it, if the power goes before the operation number `point`."""
    done = list(recording.operations[:point])
    coming = recording.operations[point : point + 1]
    if outcome.is_within and coming and coming[0].kind == "write":
        done.append(coming[0])
    contents = {node: bytearray(recording.start[path] or b"") for path, node in recording.nodes.items()}
    entries: dict[str, int | None] = {path: recording.nodes.get(path) for path in recording.start}
    pending = _pending(done)
    names = [index for index in pending if done[index].kind in NAMES]
    data = [index for index in pending if done[index].kind not in NAMES]
    for index, operation in enumerate(done):
        if operation.kind in NAMES:
            if index not in names or _keeps_name(outcome, index == names[-1]):
                _rename(entries, contents, operation)
        elif index not in data:
            _write(contents, operation, [slice(None)])  # a sync writes nothing
        else:
            _lose(contents, operation, outcome, is_last=index == data[-1])
    return {
        path: None if node is None else bytes(contents[node])
        for path, node in entries.items()
        if all(str(above) in entries for above in PurePosixPath(path).parents)
    }


def _pending(done: Sequence[Operation]) -> list[int]:
    """Return which operations no sync has made durable."""
    pending: list[int] = []
    for index, operation in enumerate(done):
        if operation.kind == "sync":
            pending = [one for one in pending if done[one].kind in NAMES or done[one].node != operation.node]
        elif operation.kind == "sync folder":
            pending = [one for one in pending if done[one].kind not in NAMES or done[one].folder != operation.path]
        else:
            pending.append(index)
    return pending


def _keeps_name(outcome: Outcome, is_last: bool) -> bool:
    return outcome.names == "all" or (outcome.names == "last" and is_last)


def _rename(entries: dict[str, "int | None"], contents: dict[int, bytearray], operation: Operation) -> None:
    """Change names. A rename takes its file along even if the disk never had it under its first name."""
    contents.setdefault(operation.node, bytearray())
    if operation.kind == "mkdir":
        entries[operation.path] = None
    elif operation.kind == "create":
        entries[operation.path] = operation.node
    else:
        entries.pop(operation.path, None)
        if operation.kind == "rename":
            entries[operation.target] = operation.node


def _lose(contents: dict[int, bytearray], operation: Operation, outcome: Outcome, *, is_last: bool) -> None:
    """Do what is left of an operation on a file's bytes that no sync has made durable."""
    if outcome.data == "none" or (outcome.data == "last" and not is_last):
        return
    if outcome.data == "half" and is_last:
        half = operation.data[: len(operation.data) // 2]
        _write(contents, replace(operation, data=half), [slice(None)])
    elif outcome.data == "sectors":
        _write(contents, operation, _sectors(operation))
    else:
        _write(contents, operation, [] if outcome.data == "size" else [slice(None)])


def _sectors(operation: Operation) -> list[slice]:
    """Return the parts of a write in about half of its sectors, always the same ones."""
    end = operation.offset + len(operation.data)
    sectors = range(operation.offset // SECTOR_BYTES, -(-end // SECTOR_BYTES))
    kept = [one for one in sectors if zlib.crc32(f"{operation.node} {one}".encode()) & 1]
    places = [(one * SECTOR_BYTES - operation.offset, (one + 1) * SECTOR_BYTES - operation.offset) for one in kept]
    return [slice(max(first, 0), min(last, len(operation.data))) for first, last in places]


def _write(contents: dict[int, bytearray], operation: Operation, parts: Sequence[slice]) -> None:
    """Write parts of the data at their places; the file is as long as if all were there, and the rest is zero."""
    content = contents.setdefault(operation.node, bytearray())
    if operation.kind == "truncate":
        del content[operation.size :]
        content.extend(bytes(operation.size - len(content)))
    elif operation.kind == "write":
        content.extend(bytes(max(0, operation.offset + len(operation.data) - len(content))))
        for part in parts:
            first = operation.offset + (part.start or 0)
            content[first : first + len(operation.data[part])] = operation.data[part]
