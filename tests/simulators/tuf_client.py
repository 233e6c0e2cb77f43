"""A device's TUF client, python-tuf's own, over metadata that a test may tamper with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sqlmodel import Session, select
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater

from shoal_hub.trust.tables import TrustMetadata

Files = dict[str, bytes]
"""What stands to be fetched, by TUF's file names."""


def standing_files(session: Session) -> Files:
    """Return all metadata as a hub publishes it."""
    files: Files = {}
    newest = 0
    for row in session.exec(select(TrustMetadata)).all():
        if row.role == "timestamp":
            newest, files["timestamp.json"] = max(
                (newest, files.get("timestamp.json", b"")), (row.version, row.content)
            )
        else:
            files[f"{row.version}.{quote(row.role, safe='')}.json"] = row.content
    return files


class _Files(FetcherInterface):
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = urlsplit(url).path.removeprefix("/")
        if name not in self._files:
            raise DownloadHTTPError(f"no {unquote(name)}", 404)
        yield self._files[name]


class TufDevice:
    """Trusts a root from its enrolment on, and keeps what it has verified.

    Args:
        folder: Its metadata.
        root: The root metadata that enrolment gave it.
    """

    def __init__(self, folder: Path, root: bytes) -> None:
        self.folder = folder
        self._root: bytes | None = root
        folder.mkdir(parents=True, exist_ok=True)

    def refresh(self, files: Mapping[str, bytes]) -> Updater:
        """Refresh as at a start of the agent, and return the client for questions.

        Raises:
            RepositoryError: What the device is given does not hold.
            DownloadError: Something is missing.
        """
        updater = Updater(str(self.folder), "http://hub.test/", fetcher=_Files(files), bootstrap=self._root)
        self._root = None  # what is on disk counts from here on
        updater.refresh()
        return updater

    def lists(self, files: Mapping[str, bytes], path: str) -> TargetFile | None:
        """Return what a fresh refresh knows of a target."""
        return self.refresh(files).get_targetinfo(path)
