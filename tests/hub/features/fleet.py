"""Three devices, an operator who assigns features to them, and what the hub has signed for them."""

import base64
import json
from datetime import timedelta
from typing import Any

from fastapi.testclient import TestClient
from tests.simulators.feature_sets import features
from tests.simulators.rows import add_device, apply_reported, make_report

from shoal_contract.desired import DesiredState
from shoal_contract.features import DesiredFeatures
from shoal_contract.reported import SectionReport
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.desired import refresh_desired, stale_devices
from shoal_hub.devices.tables import DesiredRow

LIFE = timedelta(days=30)


class Fleet:
    """What the tests of features act on."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client
        with hub.database.transaction() as session:
            self.ids = sorted(add_device(session, name=f"device-{n}").id for n in range(3))
        self.told()

    def send(self, method: str, path: str, **body: Any) -> Any:
        return self.client.request(method, f"/api/v1{path}", json=body)

    def set(self, name: str = "pumps", **body: Any) -> Any:
        return self.send("PUT", f"/features/{name}", **(body or features()))

    def assign(self, name: str, *, group: str = "", device_id: str = "") -> Any:
        where = f"groups/{group}" if group else f"devices/{device_id}"
        return self.client.put(f"/api/v1/features/{name}/{where}")

    def unassign(self, name: str, *, group: str = "", device_id: str = "") -> Any:
        where = f"groups/{group}" if group else f"devices/{device_id}"
        return self.client.delete(f"/api/v1/features/{name}/{where}")

    def told(self) -> list[str]:
        """Compose what is stale, as the controller does, and return for which devices that was."""
        with self.hub.database.session() as session:
            stale = sorted(stale_devices(session, 100))
        for device_id in [*stale, *self.ids]:
            with self.hub.database.transaction() as session:
                refresh_desired(session, self.hub.director, self.hub.version_keys, device_id, utc_now(), LIFE)
        return stale

    def wanted(self, device_id: str) -> DesiredFeatures | None:
        """Return what the hub has signed for a device."""
        return self._state(device_id).features

    def pipelines(self, device_id: str) -> list[str]:
        wanted = self.wanted(device_id)
        return [] if wanted is None else sorted(wanted.pipelines)

    def report(self, device_id: str, **sections: SectionReport) -> None:
        """Have a device report its newest state; sections are named with two underscores for the slash."""
        state = self._state(device_id)
        said = {name.replace("__", "/"): one for name, one in sections.items()}
        with self.hub.database.transaction() as session:
            report = make_report(epoch=state.epoch, generation=state.generation, sections=said)
            assert apply_reported(session, device_id, report, utc_now())

    def _state(self, device_id: str) -> DesiredState:
        with self.hub.database.session() as session:
            envelope = session.get_one(DesiredRow, device_id).envelope
        return DesiredState.model_validate_json(base64.b64decode(json.loads(envelope)["payload"]))
