"""Files of versions that were registered otherwise, as artifacts: `registry/MODEL/NUMBER/FILE`, to be read only.

So `models:/name@alias` downloads whichever version the alias means.
"""

from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.database import is_among
from shoal_hub.errors import NotFoundError, RefusedError
from shoal_hub.registry.tables import Artifact, Version
from shoal_hub.registry.versions import find_version
from shoal_hub.tracking.files import Listed

REGISTRY: Final = "registry"
_PARTS: Final = 4


def uri_of(model: str, number: int) -> str:
    """Return the URI of a version's files."""
    return f"mlflow-artifacts:/{REGISTRY}/{model}/{number}"


def list_registered(session: Session, path: str) -> list[Listed]:
    """Return a version's files; of any other path, nothing."""
    parts = path.split("/")
    if len(parts) != _PARTS - 1:
        return []
    files = _version(session, parts).files
    wanted = select(Artifact.sha256, Artifact.size_bytes).where(is_among(col(Artifact.sha256), files.values()))
    sizes = dict(session.exec(wanted).all())
    return [Listed(name, is_folder=False, size_bytes=sizes[sha256]) for name, sha256 in sorted(files.items())]


def find_registered(session: Session, path: str) -> tuple[str, int]:
    """Return the hash and the size of a version's file.

    Raises:
        NotFoundError: There is none at this path.
    """
    parts = path.split("/")
    sha256 = _version(session, parts).files.get(parts[-1]) if len(parts) == _PARTS else None
    if sha256 is None:
        raise NotFoundError(f"no artifact {path[:200]!r}", "list what the version has")
    return sha256, session.get_one(Artifact, sha256).size_bytes


def _version(session: Session, parts: list[str]) -> Version:
    version = find_version(session, parts[1], parts[2])
    if version.is_encrypted:
        raise RefusedError(f"version {parts[2]} of {parts[1]} leaves the hub encrypted only", "deploy it to devices")
    return version
