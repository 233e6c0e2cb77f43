"""The artifact store: immutable files named by their SHA-256, in a folder or in any store that fsspec speaks to.

The database keeps which artifacts exist (`Artifact`); this keeps their bytes. Reading checks the hash again.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import fsspec
from sqlmodel import Session, col, select

from shoal_contract.ids import SHA256_PATTERN, sha256_hex
from shoal_hub.database import add_unless_there, is_among, utc_now
from shoal_hub.errors import ArtifactError, SettingsError
from shoal_hub.ids import new_id
from shoal_hub.registry.tables import Artifact

_BLOCK_BYTES: Final = 1 << 20


class StoredArtifact(NamedTuple):
    """What `put` has stored."""

    sha256: str
    size_bytes: int


class ArtifactStore:
    """One store, by URL: a path, or `s3://bucket/prefix` and others.

    Raises:
        SettingsError: fsspec can open no store of that kind here.
    """

    def __init__(self, url: str) -> None:
        try:
            self._filesystem, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise SettingsError(
                f"opening the artifact store: fsspec can open no URL of this kind: {error}",
                "set SHOAL_ARTIFACTS_URL to a folder or to a URL of a kind whose package is installed",
            ) from error
        self._is_local = isinstance(self._filesystem, fsspec.implementations.local.LocalFileSystem)

    def put(self, content: bytes | Path) -> StoredArtifact:
        """Store bytes or a file's content under its hash; what is there already is not written again."""
        size_bytes, sha256 = _measure(content)
        path = self._path(sha256)
        if not self._filesystem.exists(path):
            self._filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._write(content, path)
        return StoredArtifact(sha256, size_bytes)

    def adopt(self, path: Path, measured: StoredArtifact) -> None:
        """Store a file whose hash is known; a store in a folder takes the file itself, which has moved then.

        It lies in `local_root` then, so that taking it is one rename; its bytes are on the disk already.
        """
        target = self._path(measured.sha256)
        if self._filesystem.exists(target):
            return
        self._filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        if self._is_local:
            path.replace(target)
        else:
            self._write(path, target)

    @contextmanager
    def open(self, sha256: str) -> Iterator[IO[bytes]]:
        """Open an artifact to read it in parts; the caller checks what it read, or trusts the store.

        Raises:
            ArtifactError: The store has no such artifact.
        """
        try:
            with self._filesystem.open(self._path(sha256), "rb") as file:
                yield file
        except FileNotFoundError as error:
            raise _missing(sha256) from error

    def read(self, sha256: str) -> bytes:
        """Return an artifact's bytes, checked against its name.

        Raises:
            ArtifactError: It is missing or damaged.
        """
        with self.open(sha256) as file:
            data = file.read()
        found = sha256_hex(data)
        if found != sha256:
            msg = f"reading artifact {sha256}: its bytes have the hash {found}"
            raise ArtifactError(msg, "the store is damaged: restore the file from a backup")
        return data

    def has(self, sha256: str) -> bool:
        """Whether the store holds the artifact."""
        return bool(self._filesystem.exists(self._path(sha256)))

    def remove(self, sha256: str) -> None:
        """Remove an artifact that nothing names any more; one that is gone already is left at that."""
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(sha256))

    def local_path(self, sha256: str) -> Path | None:
        """Where the artifact lies on this machine's disk; None for a store elsewhere."""
        return Path(self._path(sha256)) if self._is_local else None

    def local_root(self) -> Path | None:
        """The store's own folder on this machine's disk; None for a store elsewhere."""
        return Path(self._root) if self._is_local else None

    def copy_to(self, sha256: str, path: Path) -> None:
        """Write an artifact, checked, to a file."""
        path.write_bytes(self.read(sha256))

    def _path(self, sha256: str) -> str:
        # The last check of many: no name but a hash becomes part of a path.
        if re.fullmatch(SHA256_PATTERN, sha256) is None:
            raise ArtifactError(f"{sha256[:80]!r} is no SHA-256", "name an artifact by its hash")
        return f"{self._root}/{sha256[:2]}/{sha256}"

    def _write(self, content: bytes | Path, path: str) -> None:
        # An object store shows an object when it is whole; a folder needs the rename.
        target = f"{path}.{new_id('part')}" if self._is_local else path
        with self._filesystem.open(target, "wb") as file:
            for block in _blocks(content):
                file.write(block)
            if self._is_local:
                file.flush()
                os.fsync(file.fileno())
        if self._is_local:
            Path(target).replace(path)


def store_artifact(session: Session, store: ArtifactStore, content: bytes | Path) -> StoredArtifact:
    """Store bytes and note them in the session's transaction. Bytes that no row names are harmless."""
    (stored,) = store_artifacts(session, store, [content])
    return stored


def store_artifacts(session: Session, store: ArtifactStore, contents: Iterable[bytes | Path]) -> list[StoredArtifact]:
    """Store several at once, each as `store_artifact` stores one."""
    stored = [store.put(one) for one in contents]
    wanted = select(Artifact.sha256).where(is_among(col(Artifact.sha256), {one.sha256 for one in stored}))
    new = {one.sha256: one for one in stored}
    for sha256 in session.exec(wanted):
        del new[sha256]
    if new:
        add_unless_there(session, *(Artifact(**one._asdict(), created_at=utc_now()) for one in new.values()))
    return stored


def _blocks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _measure(content: bytes | Path) -> tuple[int, str]:
    digest: Any = hashlib.sha256()
    size_bytes = 0
    for block in _blocks(content):
        digest.update(block)
        size_bytes += len(block)
    return size_bytes, digest.hexdigest()


def _missing(sha256: str) -> ArtifactError:
    return ArtifactError(
        f"artifact {sha256} is not in the store", "restore the store from a backup, or check SHOAL_ARTIFACTS_URL"
    )
