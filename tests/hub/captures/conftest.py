"""A hub with two devices, a model, and the part of ingest that takes samples."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.captures.samples import offer_of
from tests.simulators.rows import add_device, add_version

from shoal_contract.ack import BlobAnswer
from shoal_contract.captures import DesiredCaptures
from shoal_contract.telemetry import BlobOffer
from shoal_hub.captures.intake import CaptureIntake
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.compose import CAPTURES, compose
from shoal_hub.devices.intents import intents_of
from shoal_hub.settings import Settings
from shoal_hub.transfer.quota import Quota
from shoal_hub.transfer.uploads import Uploads


class Fleet:
    """What the tests of captures act on."""

    def __init__(self, hub: HubContext, client: TestClient, folder: Path) -> None:
        self.hub, self.client = hub, client
        with hub.database.transaction() as session:
            self.ids = [add_device(session, name=f"device-{n}").id for n in range(2)]
            add_version(session, hub.artifacts, 1, {})
        self.folder = folder
        self.max_bytes = Settings().captures_max_bytes

    def want(self, model: str = "digits", **body: Any) -> Any:
        return self.client.put(f"/api/v1/capture-requests/{model}", json=body)

    def asked(self, device_id: str) -> DesiredCaptures | None:
        """Return what a device's desired state asks of it."""
        with self.hub.database.session() as session:
            return compose(intents_of(session, device_id, CAPTURES), utc_now()).captures

    def offer(self, offer: BlobOffer, device: int = 0, now: datetime | None = None) -> BlobAnswer:
        """Have a device offer a sample; return the hub's answer."""
        uploads = self.uploads()
        with self.hub.database.transaction() as session:
            uploads.offer(session, self.ids[device], offer, now or utc_now())
            session.flush()
            return uploads.answers(session, self.ids[device])[offer.sha256]

    def send(
        self, data: bytes, device: int = 0, about: str | None = "digits", now: datetime | None = None
    ) -> BlobAnswer:
        """Have a device send a whole sample; return the hub's last word."""
        offer = offer_of(data, about)
        answer = self.offer(offer, device, now)
        for index in answer.missing:
            chunk = data[index * offer.chunk_bytes : (index + 1) * offer.chunk_bytes]
            answer = self.uploads().chunk(self.ids[device], offer.sha256, index, chunk, now or utc_now()) or answer
        return answer

    def captures(self, **which: Any) -> Any:
        return self.client.get("/api/v1/captures", params=which).json()

    def uploads(self) -> Uploads:
        intake = CaptureIntake(self.hub.artifacts, self.max_bytes)
        quota = Quota.of(Settings())
        return Uploads(self.hub.database, self.folder / "uploads", {"capture": intake.purpose}, quota)


@pytest.fixture
def fleet(hub: HubContext, client: TestClient, tmp_path: Path) -> Fleet:
    return Fleet(hub, client, tmp_path)


@pytest.fixture
def sqlite_fleet(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> Fleet:
    """On one engine, for tests that are not about the store."""
    return Fleet(sqlite_hub, sqlite_client, tmp_path)
