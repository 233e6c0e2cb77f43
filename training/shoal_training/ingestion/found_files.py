"""Files by path, folder, pattern or URL, on any file system that fsspec speaks to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, Final

from shoal_training.errors import DataError

_PACKED: Final = (".gz", ".bz2", ".xz", ".zst")
"""What a file may be compressed by, which is told by its ending."""
_VERSIONS: Final = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")
"""What file systems say of a file's version, the surest first."""
_OF_ARROW: Final = ("s3", "gs", "abfs")
"""Stores that Arrow speaks to by itself: s3fs holds versions of botocore that the extra `aws` can not take."""


@dataclass(frozen=True)
class FoundFiles:
    """Some files of one file system, at least one, in the order of their paths.

    Attributes:
        filesystem: fsspec's.
        root: That was asked for: a folder, a file, or the folders of a pattern before its first sign.
        paths: As the file system names them.
    """

    filesystem: Any
    root: str
    paths: tuple[str, ...]

    def shown(self, path: str) -> str:
        """Return a path as people know it: with the protocol, where the file is not on this machine."""
        protocol = self.filesystem.protocol
        is_local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        return path if is_local else str(self.filesystem.unstrip_protocol(path))

    def stamp(self, path: str) -> str:
        """Return what changes with a file's content, as far as the file system tells."""
        with self.reaching(path):
            about = self.filesystem.info(path)
        version = next((about[one] for one in _VERSIONS if about.get(one)), None)
        return repr((path, about.get("size"), str(version)))

    @contextmanager
    def reaching(self, path: str) -> Iterator[None]:
        """Let a file that can not be reached say so; what is wrong within it is for whoever reads it.

        Raises:
            DataError: It can not be reached.
        """
        try:
            yield
        except OSError as error:
            if not error.errno:  # Arrow says so of what it finds in a file
                raise
            raise DataError(f"reading {self.shown(path)}: {error}; see that it is there and may be read") from error


def suffix_of(path: str) -> str:
    """Return the ending that tells a file's form, in small letters: of `a.csv.gz` that is `.csv`."""
    suffixes = [one.lower() for one in PurePosixPath(path).suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def find_files(asked: str, folder: Path, suffixes: Sequence[str]) -> FoundFiles:
    """Return the files of a path, a folder, a pattern or a URL of one of them.

    Args:
        asked: As it stands in the pipeline file.
        folder: That paths are relative to.
        suffixes: Endings that are taken from a folder; files that are named are taken anyway.

    Raises:
        DataError: No file is there, or no file system of the URL's kind can be used.
    """
    url = asked if "://" in asked else str(folder.absolute() / asked)
    try:
        filesystem, root = filesystem_of(url)
        filesystem.invalidate_cache()  # lists of stores are kept, and the files of a run before would be read
        paths, root = _paths(filesystem, root.rstrip("/"), suffixes)
    except (ImportError, ValueError) as error:
        raise DataError(f"reading {asked}: {error}; install what the URL's kind needs, or mend the URL") from error
    except OSError as error:
        raise DataError(f"reading {asked}: {error}; see that it is there and may be read") from error
    if not paths:
        raise DataError(f"reading {asked}: no file is there; name a file, a folder or a pattern of files")
    return FoundFiles(filesystem, root, tuple(sorted(paths)))


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path on it; Arrow's own where fsspec's package is not installed.

    Raises:
        ImportError: Neither has one for this kind of URL.
        ValueError: It is no URL.
    """
    import fsspec

    try:
        found, root = fsspec.core.url_to_fs(url)
    except ImportError:
        if url.split("://", 1)[0] not in _OF_ARROW:
            raise
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import FileSystem

        wrapped, root = FileSystem.from_uri(url)
        return ArrowFSWrapper(wrapped), str(root)
    return found, str(root)


def _paths(filesystem: Any, root: str, suffixes: Sequence[str]) -> tuple[list[str], str]:  # noqa: ANN401 - fsspec's
    if any(sign in root for sign in "*?["):
        found = [path for path in filesystem.glob(root) if filesystem.isfile(path)]
        plain = takewhile(lambda part: not any(sign in part for sign in "*?["), PurePosixPath(root).parts)
        return found, str(PurePosixPath(*plain))
    if filesystem.isfile(root):
        return [root], root
    if not filesystem.isdir(root):
        return [], root
    return [
        path
        for path in filesystem.find(root)
        if suffix_of(path) in suffixes and not _is_hidden(path.removeprefix(root))
    ], root


def _is_hidden(path: str) -> bool:
    """Whether a file or a folder above it is one that programs keep for themselves, such as `_temporary`."""
    return any(part.startswith((".", "_")) for part in PurePosixPath(path).parts if "=" not in part)
