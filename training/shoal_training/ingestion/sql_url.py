"""Addresses of SQL databases: without a password, which an environment variable holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    from sqlalchemy import URL

_DRIVERS: Final = {"postgresql": "postgresql+psycopg"}
"""Of databases, the driver that the hub has, where the URL names none."""


def url_with(url: str, folder: Path, password: str | None) -> "URL":
    """Return a URL as SQLAlchemy connects to it.

    Args:
        url: As it is given.
        folder: That a file of SQLite is relative to.
        password: None: none.
    """
    from sqlalchemy import make_url

    made = make_url(url)
    if made.get_backend_name() == "sqlite" and made.database and made.database != ":memory:":
        return made.set(database=str(folder.absolute() / made.database))
    return made.set(drivername=_DRIVERS.get(made.drivername, made.drivername), password=password or made.password)


def _check(url: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(
            "it is no URL of a database, expected one like postgresql://reader@db.example/plant"
        ) from error
    if parsed.password is not None or "password" in parsed.query:
        raise ValueError("a password stands in it; put it into an environment variable and name that as password_env")
    return url


SqlUrl = Annotated[str, Field(min_length=3, max_length=4096), AfterValidator(_check)]
"""A URL as SQLAlchemy takes it."""
