"""Files of runs and logged models: paths among the hub's artifacts, whose bytes the artifact store has by hash."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, func, select

from shoal_hub.captures.kept import remove_unnamed
from shoal_hub.database import AdvisoryLock, hold, in_parts
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError, TooLargeError, UnavailableError
from shoal_hub.registry.artifacts import ArtifactStore, StoredArtifact
from shoal_hub.settings import Settings
from shoal_hub.tracking.tables import TrackedFile, UploadedPart

MAX_PATH: Final = 1024
MAX_LISTED: Final = 100_000


class Listed(NamedTuple):
    """One entry of a folder; a folder has no size of its own."""

    name: str
    is_folder: bool
    size_bytes: int


def check_path(path: str) -> str:
    """Return a path among the artifacts, if it is one: names with slashes between, none of which leads elsewhere.

    Raises:
        InvalidInputError: It is none.
    """
    parts = path.split("/")
    is_odd = any(one in {"", ".", ".."} or "\\" in one or not one.isprintable() for one in parts)
    if is_odd or len(path) > MAX_PATH or ":" in parts[0]:
        raise InvalidInputError(
            f"{path[:80]!r} is no path of an artifact",
            f"use names with / between, without . and .., {MAX_PATH} characters",
        )
    return path


def check_room(session: Session, settings: Settings, size_bytes: int) -> None:
    """See that so many bytes more may be kept.

    Raises:
        TooLargeError: One file or all of them together would be more than the settings allow.
    """
    if size_bytes > settings.tracking_max_file_bytes:
        raise TooLargeError(
            f"keeping an artifact of {size_bytes} bytes: {settings.tracking_max_file_bytes} are taken of one",
            "log it in parts, or raise SHOAL_TRACKING_MAX_FILE_BYTES at the hub",
        )
    columns = (TrackedFile.size_bytes, UploadedPart.size_bytes)
    kept = sum(int(session.exec(select(func.coalesce(func.sum(column), 0))).one()) for column in columns)
    if kept + size_bytes > settings.tracking_max_bytes:
        raise TooLargeError(
            f"keeping an artifact of {size_bytes} bytes: {kept} of {settings.tracking_max_bytes} bytes are taken",
            "delete artifacts of old runs, or raise SHOAL_TRACKING_MAX_BYTES at the hub",
        )


def keep_file(
    session: Session, store: ArtifactStore, path: str, stored: StoredArtifact, *, by: str, now: datetime
) -> TrackedFile:
    """Have a path name these bytes; those that it named before go, where nothing else names them.

    Raises:
        ConflictError: The path, or one above it, is a folder or file already.
        UnavailableError: The bytes have gone meanwhile, with another file that had the same.
    """
    hold(session, AdvisoryLock.TRACKED_FILES)
    if not store.has(stored.sha256):
        raise UnavailableError(f"keeping the artifact {path[:200]!r}: its bytes were just deleted", "send it again")
    _require_place(session, path)
    row = session.get(TrackedFile, path)
    former = row.sha256 if row is not None else stored.sha256
    row = row or TrackedFile(path=path, sha256="", size_bytes=0, created_by=by, created_at=now)
    row.sha256, row.size_bytes, row.created_by, row.created_at = stored.sha256, stored.size_bytes, by, now
    session.add(row)
    session.flush()
    if former != stored.sha256:
        forget_bytes(session, store, [former])
    return row


def find_file(session: Session, path: str) -> TrackedFile:
    """Return a file.

    Raises:
        NotFoundError: There is none at this path.
    """
    row = session.get(TrackedFile, check_path(path))
    if row is None:
        raise NotFoundError(f"no artifact {path[:200]!r}", "list what is there: mlflow artifacts list --run-id RUN")
    return row


def list_folder(session: Session, path: str) -> list[Listed]:
    """Return what is directly in a folder, by name; of a path that is a file, or nothing, nothing."""
    start = f"{check_path(path)}/" if path else ""
    found: dict[str, Listed] = {}
    for row in _below(session, path):
        name, slash, _ = row.path[len(start) :].partition("/")
        found[name] = Listed(name, is_folder=bool(slash), size_bytes=0 if slash else row.size_bytes)
    return [found[name] for name in sorted(found)]


def files_below(session: Session, path: str) -> list[TrackedFile]:
    """Return the files of a folder and of all folders in it, by path."""
    return list(_below(session, check_path(path)))


def delete_files(session: Session, store: ArtifactStore, path: str) -> int:
    """Delete a file, or a folder with all in it; return how many files there were.

    The bytes go before the transaction is committed: a row whose bytes are lost is better than bytes nobody finds.

    Raises:
        NotFoundError: There is nothing at this path.
    """
    hold(session, AdvisoryLock.TRACKED_FILES)
    rows = [row for row in [session.get(TrackedFile, check_path(path))] if row is not None] or files_below(
        session, path
    )
    if not rows:
        raise NotFoundError(f"no artifact {path[:200]!r}", "list what is there: mlflow artifacts list --run-id RUN")
    for row in rows:
        session.delete(row)
    session.flush()
    forget_bytes(session, store, [row.sha256 for row in rows])
    return len(rows)


def forget_bytes(session: Session, store: ArtifactStore, hashes: Sequence[str]) -> None:
    """Remove bytes that nothing of the hub names any more."""
    for part in in_parts(dict.fromkeys(hashes)):
        remove_unnamed(session, store, part)


def _below(session: Session, path: str) -> Sequence[TrackedFile]:
    wanted = select(TrackedFile).order_by(col(TrackedFile.path)).limit(MAX_LISTED)
    if path:
        wanted = wanted.where(_is_in(path))
    return session.exec(wanted).all()


def _is_in(path: str) -> ColumnElement[bool]:
    return col(TrackedFile.path).startswith(f"{path}/", autoescape=True)


def _require_place(session: Session, path: str) -> None:
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    in_the_way = select(TrackedFile.path).where(or_(_is_in(path), col(TrackedFile.path).in_(above))).limit(1)
    if found := session.exec(in_the_way).first():
        raise ConflictError(f"keeping the artifact {path[:200]!r}: {found!r} is there already", "choose another path")
