"""`shoal serve` as its operators start it, beside a real hub, and versions that are put into that hub's registry."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.simulators.hub_process import HubProcess

from shoal_contract.manifest import VersionManifest
from shoal_hub.database import Database
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.tables import Model, VariantRow, Version

WAIT_S = 60.0


class ServeProcess:
    """`shoal serve` on a data folder; its log goes to `<data>/serve.log`."""

    def __init__(self, hub: HubProcess, data: Path, *options: str) -> None:
        self.data = data
        self.environment = {**hub.environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._command = [sys.executable, "-m", "shoal_hub", "serve", "--data", str(data), "--port=0", *options]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "ServeProcess":
        """Start it and wait until every worker serves."""
        self.begin()
        try:
            self.wait_for(self.note.exists)
        except BaseException:
            self.close()
            raise
        return self

    def begin(self) -> None:
        """Start it and wait for nothing."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.note.unlink(missing_ok=True)
        with (self.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self.environment)

    def wait_for(self, holds: Any) -> None:
        """Wait until something holds."""
        deadline_s = time.monotonic() + WAIT_S
        while not holds():
            assert self.process is not None
            assert self.process.poll() is None, f"the server ended: {self.log()[-3000:]}"
            assert time.monotonic() < deadline_s, f"it does not come to that: {self.log()[-3000:]}"
            time.sleep(0.02)

    @property
    def note(self) -> Path:
        return self.data / "run" / "endpoint.json"

    @property
    def url(self) -> str:
        return str(json.loads(self.note.read_text())["url"])

    @property
    def worker_pids(self) -> list[int]:
        return list(json.loads(self.note.read_text())["workers"].values())

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """Ask on a connection of its own; return status and JSON or text, or 0 where nothing answers."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=10) as response:  # noqa: S310
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        except OSError:
            return 0, None
        return status, json.loads(text) if text[:1] in {b"{", b"["} else text.decode()

    def serves(self, model: str) -> int:
        """Return the version that answers now, 0 where none does."""
        status, body = self.ask(f"/v2/models/{model}")
        return int(body["versions"][0]) if status == 200 else 0

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def log(self) -> str:
        return (self.data / "serve.log").read_text()


def put_version(hub: HubProcess, manifest: VersionManifest, files: Mapping[str, bytes], **changes: object) -> None:
    """Put a version into the registry of a hub that runs, as registration and compression would have left it."""
    database, store = Database(f"sqlite:///{hub.data / 'hub.sqlite'}"), ArtifactStore(str(hub.data / "artifacts"))
    said = manifest.model_dump(mode="json")
    kept = ("inputs", "outputs", "baseline", "provenance", "golden_inputs")
    with database.transaction() as session:
        if session.get(Model, manifest.model) is None:
            session.add(Model(name=manifest.model, created_at=manifest.created_at))
            session.flush()
        fields: dict[str, Any] = {name: said[name] for name in kept}
        fields |= dict.fromkeys(("algorithm", "author", "framework", "created_by"), "test")
        fields |= {"metrics": {}, "parameters": {}, "tags": [], "files": {}, "labels": list(manifest.labels)}
        fields |= {"model": manifest.model, "number": manifest.version, "created_at": manifest.created_at}
        version = Version(**(fields | changes))
        session.add(version)
        session.flush()
        for variant in said["variants"]:
            if variant["target"] in files:
                stored = store_artifact(session, store, files[variant["target"]])
                row = variant | {"sha256": stored.sha256, "size_bytes": stored.size_bytes}
                row.pop("encrypted", None)
                session.add(VariantRow(version_id=version.id, created_at=manifest.created_at, **row))
    database.close()
