"""Three devices, a registry with two models that fit each other, and an operator who composes them."""

from typing import Any

from fastapi.testclient import TestClient
from tests.hub.features import fleet as features
from tests.simulators.compositions import CASCADE, add_member

from shoal_contract.compositions import DesiredComposition
from shoal_hub.context import HubContext


class Fleet(features.Fleet):
    """What the tests of compositions act on."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        super().__init__(hub, client)
        for model in ("small", "large"):
            self.register(model)

    def register(self, model: str, number: int = 1, **changes: Any) -> None:
        with self.hub.database.transaction() as session:
            add_member(session, self.hub.artifacts, model, number, **changes)

    def create(self, name: str = "faces", form: Any = CASCADE, **more: Any) -> Any:
        return self.send("POST", "/compositions", name=name, form=form, **more)

    def change(self, form: Any, name: str = "faces") -> Any:
        return self.send("PUT", f"/compositions/{name}", form=form)

    def put(self, where: str, name: str = "faces") -> Any:
        """Assign to `groups/<name>` or `devices/<id>`."""
        return self.client.put(f"/api/v1/compositions/{name}/{where}")

    def take(self, where: str, name: str = "faces") -> Any:
        return self.client.delete(f"/api/v1/compositions/{name}/{where}")

    def statuses(self, name: str = "faces") -> list[dict[str, Any]]:
        found = self.client.get(f"/api/v1/compositions/{name}/devices")
        assert found.status_code == 200
        return list(found.json())

    def composed(self, device_id: str) -> dict[str, DesiredComposition]:
        """Return what the hub has signed for a device."""
        return self._state(device_id).compositions or {}
