"""A disk that loses power: what was not synced is gone, and the process ends between two steps of a write.

Stands in for the calls of `os` and of pathlib's rename, so that the code under test is the production code. It is for
one write at a time; `power_cut_matrix` has whole updates, and what a disk may do with every operation of theirs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


class PowerCutError(BaseException):
    """The power is gone. No code may catch it, so it is no Exception."""


class FragileDisk:
    """Counts the steps of writes, and cuts the power before step number `cut_before`."""

    def __init__(self, cut_before: int | None = None) -> None:
        self.steps = 0
        self._cut_before = cut_before
        self._unsynced: dict[int, Path] = {}  # by inode: files whose content is in memory only
        self._renames: list[tuple[Path, bytes | None]] = []  # not synced: target, and what was there before

    @contextmanager
    def mounted(self) -> Iterator["FragileDisk"]:
        """Stand in for the calls within the block; at a cut, leave behind what a real disk would."""
        real_open, real_fsync, real_replace = os.open, os.fsync, Path.replace

        def fragile_open(path: Any, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_DIRECTORY:
                return real_open(path, flags, mode)
            self._step()
            descriptor = real_open(path, flags, mode)
            self._unsynced[os.fstat(descriptor).st_ino] = Path(path)
            return descriptor

        def fragile_fsync(descriptor: int) -> None:
            self._step()
            real_fsync(descriptor)
            self._unsynced.pop(os.fstat(descriptor).st_ino, None)
            if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - a link of the kernel's, not a path
                self._renames.clear()

        def fragile_replace(source: Path, target: Path) -> Path:
            self._step()
            before = target.read_bytes() if target.exists() else None
            result = real_replace(source, target)
            self._unsynced = {inode: target if path == source else path for inode, path in self._unsynced.items()}
            self._renames.append((target, before))
            return result

        with (
            mock.patch("os.open", fragile_open),
            mock.patch("os.fsync", fragile_fsync),
            mock.patch.object(Path, "replace", fragile_replace),
        ):
            yield self

    def lose_what_was_not_synced(self, *, renames: bool) -> None:
        """Empty the files that were not synced; with `renames`, undo those whose folder was not."""
        for path in self._unsynced.values():
            if path.exists():
                path.write_bytes(b"")
        for target, before in reversed(self._renames) if renames else ():
            if before is None:
                target.unlink()
            else:
                target.write_bytes(before)

    def _step(self) -> None:
        if self.steps == self._cut_before:
            raise PowerCutError
        self.steps += 1
