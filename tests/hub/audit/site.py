"""A hub at whose API each route is driven."""

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from tests.hub.registry.bundles import record as record_file
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.simulators.rows import add_device, add_version, make_report

from shoal_hub.context import HubContext

TARGET = "generic-onnx-int8"


class Site:
    """A hub with devices and versions, and an operator at its API."""

    def __init__(self, hub: HubContext, client: TestClient, folder: Path) -> None:
        self.hub, self.client, self.folder = hub, client, folder
        with hub.database.transaction() as session:
            report = make_report(datasets={"colours": 40}).model_dump(mode="json")
            self.devices = [add_device(session, name=f"device-{n}", reported=report).id for n in range(2)]
            for number in (1, 2):
                add_version(session, hub.artifacts, number, {TARGET: bytes([number]) * 1000})
        register_bundle(hub, write_bundle(folder / "colours"))

    def send(self, method: str, path: str, **request: Any) -> Any:
        answer = self.client.request(method, f"/api/v1{path}", **request)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def rollout(self) -> str:
        return str(self.send("POST", "/rollouts", json={"model": "digits", "version": "1", "waves": [1]})["id"])

    def federated_run(self) -> str:
        folder = write_bundle(self.folder / "trainable")
        (folder / "trainer.tflite").write_bytes(b"\x00\x00\x00\x00TFL3" + bytes(20))
        bundle = json.loads((folder / "bundle.json").read_text())
        bundle["files"]["trainer.tflite"] = record_file(folder / "trainer.tflite")
        (folder / "bundle.json").write_text(json.dumps(bundle))
        register_bundle(self.hub, folder)
        return str(self.send("POST", "/federated", json={"model": "colours", "version": "2"})["id"])
