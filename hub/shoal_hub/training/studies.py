"""Where studies of tuning at the hub are kept: in the hub's database, in tables of Optuna's own.

PostgreSQL has a schema for them. SQLite has none, and Optuna's tables have names that the hub's have too (`trials`,
`alembic_version`): there they are a second file beside the database.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from typing import Final

from sqlalchemy import text

from shoal_hub.database import Database
from shoal_hub.settings import Settings

SCHEMA: Final = "studies"
VARIABLE: Final = "SHOAL_STUDIES_URL"
"""By which the processes of a search find it: its password is on no disk."""
_FILE: Final = "studies.sqlite"


@contextmanager
def study_storage(settings: Settings, database: Database) -> Iterator[str]:
    """Have a storage for studies, as `Tuning.storage` names one, for this process and its children."""
    environ[VARIABLE] = study_url(settings, database)
    try:
        yield f"${VARIABLE}"
    finally:
        environ.pop(VARIABLE, None)


def study_url(settings: Settings, database: Database) -> str:
    """Return the URL of the storage; on PostgreSQL its schema is made where it is not there."""
    url = database.engine.url
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{settings.data / _FILE}"
    with database.transaction() as session:
        session.connection().execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    options = f"{url.query.get('options', '')} -c search_path={SCHEMA}".strip()
    return url.update_query_dict({"options": options}).render_as_string(hide_password=False)
