"""Several processes write metadata at once: a rollout's start at the API, the controller's renewal."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from shoal_contract.ids import sha256_hex
from shoal_contract.trust import manifest_target
from shoal_hub.database import Database, utc_now
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.renewal import sign_all_again
from shoal_hub.trust.roles import Lives

if TYPE_CHECKING:
    from tests.hub.trust.conftest import TrustedHub

WRITERS = 6


def open_trust(folder: Path) -> HubTrust:
    return HubTrust(folder / "trust", Lives(), ArtifactStore(str(folder / "artifacts")))


def test_writers_at_the_same_time_take_turns_and_lose_nothing_of_each_other(hub: "TrustedHub") -> None:
    url = hub.database.engine.url.render_as_string(hide_password=False)

    def write(number: int) -> None:
        """Act as a process of its own: with its own database and its own keys in memory."""
        database, trust = Database(url), open_trust(hub.folder)
        for version in (1, 2):
            with database.transaction() as session:
                trust.writing(session).list_manifest(f"model-{number}", version, f"{number}.{version}".encode())
            sign_all_again(database, trust, utc_now(), {})
        database.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    updater = hub.device().refresh(hub.files())
    for number in range(WRITERS):
        for version in (1, 2):
            path = manifest_target(f"model-{number}", version, sha256_hex(f"{number}.{version}".encode()))
            assert updater.get_targetinfo(path) is not None, path


def test_processes_that_start_at_once_make_one_root(database: Database, tmp_path: Path) -> None:
    url = database.engine.url.render_as_string(hide_password=False)

    def begin(_: int) -> str:
        own = Database(url)
        with own.transaction() as session:
            text = open_trust(tmp_path).root_text(session)
        own.close()
        return text

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(begin, range(4)))) == 1
