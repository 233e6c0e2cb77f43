"""A PostgreSQL cluster of its own for one test session: in a temporary folder, on a Unix socket, without fsync."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

USER = "shoal"
_START_S = 30.0
_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")

_OTHERS_OUT = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES = """
    SELECT table_name, column_name, data_type, (SELECT version_num FROM alembic_version)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tgrelid::regclass::text, tgname, tgenabled::text, '' FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1, 2, 3
"""
_KEEP = """
    DO $$ DECLARE name text; BEGIN
        CREATE SCHEMA kept;
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('CREATE TABLE kept.%1$I AS TABLE public.%1$I', name);
            IF (SELECT reltuples = 0 OR pg_relation_size(oid) = 0 FROM pg_class
                WHERE oid = format('kept.%I', name)::regclass) THEN
                EXECUTE format('DROP TABLE kept.%I', name);
            END IF;
        END LOOP;
    END $$
"""
_WIPE = """
    DO $$ DECLARE name text; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('DELETE FROM public.%I', name);
        END LOOP;
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP
            EXECUTE format('INSERT INTO public.%1$I OVERRIDING SYSTEM VALUE SELECT * FROM kept.%1$I', name);
        END LOOP;
        FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
            EXECUTE format('ALTER SEQUENCE public.%I RESTART', name);
        END LOOP;
    END $$
"""


class PostgresCluster:
    """Starts on construction; `stop` ends the server and removes the folder.

    Args:
        is_durable: Whether a commit waits for the disk, as in production; tests need not.
    """

    def __init__(self, *, is_durable: bool = False) -> None:
        self._programs = _find_programs()
        self.folder = Path(tempfile.mkdtemp(prefix="shoal-postgres-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
            self._as_user = ["runuser", "-u", "postgres", "--"]
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = () if is_durable else _FAST
        with (self.folder / "server.err").open("w") as log:
            self._server = subprocess.Popen(
                [*self._as_user, self._programs / "postgres", "-D", data, "-k", self.folder, "-h", "", *options],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._wait()
        self._count = 0
        self._tables: list[tuple[object, ...]] = []

    def url(self, name: str) -> str:
        """Return the URL of one database, as the hub takes it."""
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def create(self, template: str = "template1") -> str:
        """Create a database as a copy of `template` and return its name."""
        self._count += 1
        name = f"shoal_{self._count}"
        with self._admin() as admin:
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return name

    def drop(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it."""
        with self._admin() as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())

    def wipe(self, name: str) -> bool:
        """Empty a database of whatever a migrated one does not have, and of whoever is connected.

        It takes a fortieth of the time that another database does.

        Returns:
            Whether it is as new; False where somebody has changed its tables.
        """
        with psycopg.connect(host=str(self.folder), user=USER, dbname=name, autocommit=True) as connection:
            connection.execute(_OTHERS_OUT)
            if connection.execute(_TABLES).fetchall() != self._tables:
                return False
            connection.execute(_WIPE)
        return True

    def keep_rows(self, name: str) -> None:
        """Take a migrated database as the one that wiped ones are to be like; copies of it have its rows twice."""
        with psycopg.connect(host=str(self.folder), user=USER, dbname=name, autocommit=True) as connection:
            connection.execute(_KEEP)
            self._tables = connection.execute(_TABLES).fetchall()

    def stop(self) -> None:
        """End the server and remove its files."""
        self._run("pg_ctl", "stop", "-D", self.folder / "data", "-m", "immediate", "-w")
        self._server.wait(timeout=_START_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _admin(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(host=str(self.folder), user=USER, dbname="postgres", autocommit=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command: Sequence[str | Path] = [*self._as_user, self._programs / program, *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            if time.monotonic() > deadline or self._server.poll() is not None:
                msg = f"PostgreSQL did not start: {(self.folder / 'server.err').read_text()[-500:]}"
                raise TimeoutError(msg)
            time.sleep(0.02)  # the server tells nobody when it is ready

    def _is_ready(self) -> bool:
        try:
            with self._admin():
                return True
        except psycopg.OperationalError:
            return False


def _find_programs() -> Path:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(places[-1]) if places else shutil.which("initdb")
    if found is None:
        msg = (
            "no PostgreSQL server is installed; run scripts/setup test, or leave these tests out with -m 'not postgres'"
        )
        raise FileNotFoundError(msg)
    return Path(found).parent
