"""Stands between the code under test and its disk: it notes every operation, and can refuse one as a full disk does.

The code is the production code. What it does through `os`, through pathlib and through the files that these open goes
to a real folder. SQLite writes by itself: `observe` takes down what has changed in its files after a transaction.
"""

import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from tests.agent.simulators.disk_operations import Operation, Recording

Before = Callable[[int, Operation], None]
"""Is told of each operation, with its number, before it takes place; what it raises takes its place."""
_REAL_OPEN, _REAL_PATH_OPEN, _REAL_PWRITE = os.open, Path.open, os.pwrite
_REAL_FTRUNCATE, _REAL_FDOPEN = os.ftruncate, os.fdopen
_REAL_REPLACE, _REAL_UNLINK, _REAL_MKDIR = Path.replace, Path.unlink, Path.mkdir


def tree_of(root: Path) -> dict[str, bytes | None]:
    """Return what lies below a folder, itself as `.`."""
    return {str(path.relative_to(root)): _content(path) for path in [root, *sorted(root.rglob("*"))]}


def lay_down(tree: dict[str, bytes | None], root: Path) -> None:
    """Write a tree into a folder that is not there yet."""
    for path, content in sorted(tree.items()):
        if content is None:
            (root / path).mkdir(parents=True)
        else:
            (root / path).write_bytes(content)


def full_from(number: int) -> Before:
    """Return a disk that has no room from the operation of that number on; deleting still works."""
    return lambda at, operation: _refuse(operation) if at >= number and operation.kind != "unlink" else None


def full_at(number: int) -> Before:
    """Return a disk that has no room for the operation of that number alone, whatever it is."""
    return lambda at, operation: _refuse(operation) if at == number else None


def _refuse(operation: Operation) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), operation.path)


class RecordedDisk:
    """The disk below `root`, from the moment at which it is made.

    Args:
        root: The folder.
        before: Is told of each operation before it takes place.
    """

    def __init__(self, root: Path, before: Before = lambda _number, _operation: None) -> None:
        self._root = root
        self._before = before
        self._lock = threading.RLock()
        self._operations: list[Operation] = []
        self._start = tree_of(root)
        paths = [path for path, content in self._start.items() if content is not None]
        self._nodes = {path: number for number, path in enumerate(paths, 1)}
        self._numbers = {self._inode(root / path): number for path, number in self._nodes.items()}
        self._has_written_short = False
        self._asked = 0
        self._observed: dict[int, bytes] = {self._nodes[path]: self._start[path] or b"" for path in paths}

    @property
    def recording(self) -> Recording:
        """All that was asked of it so far."""
        return Recording(self._start, self._nodes, tuple(self._operations))

    @contextmanager
    def mounted(self) -> Iterator["RecordedDisk"]:
        """Stand in for the calls within the block."""

        # Functions, as a bound method in a class is not bound to the path.
        def path_open(path: Path, *rest: Any, **more: Any) -> Any:
            return self._path_open(path, *rest, **more)

        def rename(path: Path, target: Any) -> Path:
            return self._replace(path, Path(target))

        def unlink(path: Path, missing_ok: bool = False) -> None:
            self._unlink(path, missing_ok=missing_ok)

        def mkdir(path: Path, *rest: Any, **more: Any) -> None:
            self._mkdir(path, *rest, **more)

        with (
            mock.patch("os.open", self._os_open),
            mock.patch("os.fdopen", self._fdopen),
            mock.patch("os.fsync", self._fsync),
            mock.patch("os.pwrite", self._pwrite),
            mock.patch("os.ftruncate", self._ftruncate),
            mock.patch.multiple(Path, open=path_open, replace=rename, unlink=unlink, mkdir=mkdir),
        ):
            yield self

    def observe(self, path: Path) -> None:
        """Note what SQLite has done to one of its files: what differs from before, in sectors, and a sync after it."""
        with self._lock:
            name = self._name(path)
            if not path.exists():
                return
            number = self._numbers.get(self._inode(path))
            if number is None:
                number = self._number(path)
                self._note(Operation("create", name, number))
                self._note(Operation("sync folder", str(Path(name).parent)))
            before, now = self._observed.get(number, b""), path.read_bytes()
            if before == now:
                return
            for first, last in _differences(before, now):
                self._note(Operation("write", name, number, offset=first, data=now[first:last]))
            if len(now) < len(before):
                self._note(Operation("truncate", name, number, size=len(now)))
            self._note(Operation("sync", name, number))
            self._observed[number] = now

    def note_write(self, descriptor: int, offset: int, data: bytes) -> bytes:
        """Note a write by a file that this disk has opened; return the part of it that the disk takes."""
        with self._lock:
            number = self._numbers.get(_inode_of(descriptor))
            if number is None:
                return data
            write = Operation("write", self._name_of(descriptor), number, offset=offset, data=data)
            try:
                self._note(write)
            except OSError as error:
                if error.errno != errno.ENOSPC or self._has_written_short or len(data) < 2:
                    raise
                # The system call writes what there is room for, and only the next one fails.
                self._has_written_short = True
                data = data[: len(data) // 2]
                self._operations.append(replace(write, data=data))
            return data

    def _note(self, operation: Operation) -> None:
        number, self._asked = self._asked, self._asked + 1
        self._before(number, operation)
        self._operations.append(operation)

    def _os_open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        with self._lock:
            if not self._holds(path) or not flags & (os.O_WRONLY | os.O_RDWR):
                return _REAL_OPEN(path, flags, mode, **more)
            is_new = not Path(path).exists()
            name = self._name(path)
            number = self._next_number() if is_new else self._numbers[self._inode(Path(path))]
            if is_new:
                self._note(Operation("create", name, number))
            elif flags & os.O_TRUNC:
                self._note(Operation("truncate", name, number))
            descriptor = _REAL_OPEN(path, flags, mode, **more)
            self._numbers[_inode_of(descriptor)] = number
            return descriptor

    def _path_open(self, path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if not self._holds(path) or not set(mode) & set("wax+"):
            return _REAL_PATH_OPEN(path, mode, *rest, **more)
        flags = {"r": os.O_RDWR, "w": os.O_RDWR | os.O_CREAT | os.O_TRUNC}[mode[0]]
        return self._fdopen(self._os_open(path, flags | os.O_CLOEXEC, 0o666), mode)

    def _fdopen(self, descriptor: int, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if _inode_of(descriptor) not in self._numbers or "b" not in mode:
            return _REAL_FDOPEN(descriptor, mode, *rest, **more)
        file = _NotedFile(self, descriptor, mode)
        return io.BufferedRandom(file) if "+" in mode else io.BufferedWriter(file)

    def _fsync(self, descriptor: int) -> None:
        with self._lock:
            number = self._numbers.get(_inode_of(descriptor))
            name = self._name_of(descriptor)
            if number is not None:
                self._note(Operation("sync", name, number))
            elif self._holds(self._root / name):
                self._note(Operation("sync folder", name))

    def _pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        with self._lock:
            data = self.note_write(descriptor, offset, bytes(data))
            return _REAL_PWRITE(descriptor, data, offset)

    def _ftruncate(self, descriptor: int, size: int) -> None:
        with self._lock:
            number = self._numbers.get(_inode_of(descriptor))
            if number is not None:
                self._note(Operation("truncate", self._name_of(descriptor), number, size=size))
            _REAL_FTRUNCATE(descriptor, size)

    def _replace(self, path: Path, target: Path) -> Path:
        with self._lock:
            if self._holds(path):
                number = self._numbers[self._inode(path)]
                self._note(Operation("rename", self._name(path), number, target=self._name(target)))
            return _REAL_REPLACE(path, target)

    def _unlink(self, path: Path, *, missing_ok: bool) -> None:
        with self._lock:
            if self._holds(path) and path.exists():
                inode = self._inode(path)
                self._note(Operation("unlink", self._name(path), self._numbers[inode]))
                del self._numbers[inode]  # the system may give it to another file
            _REAL_UNLINK(path, missing_ok=missing_ok)

    def _mkdir(self, path: Path, *rest: Any, **more: Any) -> None:
        with self._lock:
            if self._holds(path) and not path.exists():
                self._note(Operation("mkdir", self._name(path)))
            _REAL_MKDIR(path, *rest, **more)

    def _next_number(self) -> int:
        taken = [*self._nodes.values(), *(one.node for one in self._operations)]
        return max(taken, default=0) + 1

    def _number(self, path: Path) -> int:
        number = self._next_number()
        self._numbers[self._inode(path)] = number
        return number

    def _holds(self, path: Any) -> bool:
        return isinstance(path, str | Path) and Path(path).is_relative_to(self._root)

    def _name(self, path: Any) -> str:
        return str(Path(path).relative_to(self._root))

    def _name_of(self, descriptor: int) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return self._name(path) if self._holds(path) else str(path)

    @staticmethod
    def _inode(path: Path) -> tuple[int, int]:
        found = path.stat()
        return found.st_dev, found.st_ino


class _NotedFile(io.FileIO):
    """A file whose writes the disk hears of."""

    def __init__(self, disk: RecordedDisk, descriptor: int, mode: str) -> None:
        super().__init__(descriptor, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        return super().write(self._disk.note_write(self.fileno(), self.tell(), bytes(data)))


def _inode_of(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _content(path: Path) -> bytes | None:
    return None if path.is_dir() else path.read_bytes()


def _differences(before: bytes, now: bytes, step: int = 512) -> Iterator[tuple[int, int]]:
    """Yield the parts of `now` that differ from `before`, neighbouring sectors together."""
    first: int | None = None
    for place in range(0, len(now), step):
        if now[place : place + step] != before[place : place + step]:
            first = place if first is None else first
        elif first is not None:
            yield first, place
            first = None
    if first is not None:
        yield first, len(now)
