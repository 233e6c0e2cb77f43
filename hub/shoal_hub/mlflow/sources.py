"""Where the files of a model version are: the URIs that MLflow's client gives as its source, and the hub's paths."""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from sqlmodel import Session

from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.tracked import find_tracked_version
from shoal_hub.tracking.experiments import PROXIED
from shoal_hub.tracking.logged_models import find_logged_model
from shoal_hub.tracking.runs import find_run

ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
_LOGGED: Final = re.compile(r"m-[0-9a-f]{32}")
_REMEDY: Final = (
    "register runs:/RUN/PATH, models:/LOGGED-MODEL, models:/NAME/VERSION, or a folder of the hub's artifacts"
)


def resolve(session: Session, source: str) -> str:
    """Return the URI under which a source's files are: of a run, a logged model or a version that of its files.

    Raises:
        InvalidInputError: The source is of no form that is known.
        NotFoundError: It names what is not there.
    """
    scheme, _, rest = source.partition(":")
    path = rest.lstrip("/")
    if scheme == "runs" and path:
        run, _, inside = path.partition("/")
        return _joined(find_run(session, run).artifact_uri, inside)
    if scheme != "models":
        if not source or ".." in unquote(source).split("/"):
            raise InvalidInputError(f"{source[:200]!r} is no source of a model version", _REMEDY)
        return source
    if _LOGGED.fullmatch(path):
        return find_logged_model(session, path).artifact_uri
    name, _, number = path.partition("/")
    return find_tracked_version(session, name, number).artifact_uri


def hub_path(uri: str) -> str | None:
    """Return the path among the hub's artifacts that a URI means; None where the files are elsewhere."""
    if uri.startswith(PROXIED):
        return unquote(urlsplit(uri).path).strip("/")
    _, found, path = urlsplit(uri).path.partition(ARTIFACTS)
    return unquote(path).strip("/") if found and uri.startswith(("http://", "https://")) else None


def _joined(uri: str, inside: str) -> str:
    return f"{uri}/{inside}" if inside else uri
