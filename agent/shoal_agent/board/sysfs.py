"""Small files of the kernel: one value each, absent on most boards, unreadable while a part of the board is off."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 4096


def read_text(path: Path) -> str | None:
    """Return what a file says, without the white space and NULs around it; None where it says nothing."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace").strip(" \t\r\n\0") or None
    except OSError:  # not there, or its part of the board is off (EAGAIN, EIO, ENODATA)
        return None


def read_int(path: Path, base: int = 10) -> int | None:
    """Return a file's number; None where there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def numbered(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield what a pattern matches in a folder, by the numbers in the names: `zone2` before `zone10`."""
    yield from sorted(folder.glob(pattern), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
