"""A hub's trust on a migrated database, once on each engine, and a device that has enrolled with it."""

from datetime import datetime
from pathlib import Path

import pytest
from tests.simulators.tuf_client import Files, TufDevice, standing_files

from shoal_hub.database import Database
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.roles import Lives


class TrustedHub:
    """The part of a hub that signs."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.trust = HubTrust(folder / "trust", Lives(), ArtifactStore(str(folder / "artifacts")))

    def publish(self, model: str, version: int, data: bytes, now: datetime | None = None) -> None:
        """List a manifest."""
        with self.database.transaction() as session:
            self.trust.writing(session, now).list_manifest(model, version, data)

    def files(self) -> Files:
        """Return what stands for devices."""
        with self.database.session() as session:
            return standing_files(session)

    def version(self, role: str) -> int:
        """Return the version in force."""
        with self.database.session() as session:
            row = self.trust.reading(session).newest(role)
        return row.version if row else 0

    def root(self) -> bytes:
        """Return what enrolment gives."""
        with self.database.session() as session:
            return self.trust.root_text(session).encode()

    def device(self, name: str = "device") -> TufDevice:
        """Enrol a device."""
        return TufDevice(self.folder / name, self.root())


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> TrustedHub:
    hub = TrustedHub(database, tmp_path)
    with database.transaction() as session:
        hub.trust.writing(session)
    return hub
