"""How many telemetry messages a second the hub takes in: signatures checked, committed, acknowledged, none lost.

The real ingest process takes them from a real Mosquitto in production configuration, over mutual TLS, into SQLite and
into PostgreSQL (with fsync). Devices are in processes of their own on the same machine; what they say is built and
signed by the contract's own code before the clock starts, as on devices that have cores of their own. A device sends
its next turn once the hub has acknowledged the one before. What counts is from the first word to the last
acknowledgement, and the rows are counted afterwards.

Run it as `python benchmarks/ingest.py`; it takes about nine minutes.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub"))]
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)

import numpy as np  # noqa: E402 - the paths above come first
import psycopg  # noqa: E402
from ingest_parts.devices import DeviceProcess, Mix, Plan, Sent  # noqa: E402
from sqlalchemy import text  # noqa: E402
from sqlmodel import Session  # noqa: E402
from tests.hub.postgres_cluster import PostgresCluster  # noqa: E402
from tests.simulators.broker import Broker, running_broker  # noqa: E402
from tests.simulators.device import make_identity  # noqa: E402
from tests.simulators.rows import add_device, add_version  # noqa: E402

from shoal_contract.ids import new_device_id  # noqa: E402
from shoal_hub.addresses import Addresses  # noqa: E402
from shoal_hub.database import Database  # noqa: E402
from shoal_hub.devices.certificates import make_row, use_certificate  # noqa: E402
from shoal_hub.gates.vitals import watch  # noqa: E402
from shoal_hub.processes.ready import mark_of  # noqa: E402
from shoal_hub.registry.artifacts import ArtifactStore  # noqa: E402
from shoal_hub.rollouts.tables import Rollout  # noqa: E402
from shoal_hub.settings import Settings  # noqa: E402
from shoal_hub.trust import files  # noqa: E402
from shoal_numerics import Histogram, HistogramEdges  # noqa: E402

MODEL = "digits"
FEATURES, BINS, REFERENCE_ROWS, WINDOW_ROWS = 30, 100, 20_000, 1000
CONFIDENCE_EDGES = tuple(round(0.05 * at, 2) for at in range(1, 20))
GOAL_PER_S = 5000
MOST_PER_S = {"mix": 9000, "windows": 6500}
"""What is prepared: no run can be faster than that."""
MIXES = (Mix("mix", windows=4, beats=16), Mix("windows", windows=32, beats=0))
START_S = 30.0
ROLLOUT = "ro-bench"


class Outcome(NamedTuple):
    """What one run came to."""

    sent: Sent
    windows: int
    beats: int
    server_cpu_s: float
    broker_cpu_s: float

    @property
    def messages(self) -> int:
        """Messages that were sent and acknowledged."""
        return self.sent.windows + self.sent.beats

    @property
    def seconds(self) -> float:
        """From the first word to the last acknowledgement."""
        return self.sent.ended_s - self.sent.began_s

    @property
    def per_s(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def lost(self) -> int:
        """Messages of which there is no row."""
        return self.messages - self.windows - self.beats


class Bench:
    """The broker, and the devices with their keys."""

    def __init__(self, broker: Broker, folder: Path, devices: int, processes: int) -> None:
        self.broker, self.folder = broker, folder
        self.ids = sorted(new_device_id() for _ in range(devices))
        self._identities = {one: make_identity(broker.devices, one, folder / "devices") for one in self.ids}
        edges = HistogramEdges.equal_mass(np.random.default_rng(0).normal(size=(REFERENCE_ROWS, FEATURES)), BINS)
        self._reference = Histogram.of(edges, np.random.default_rng(0).normal(size=(REFERENCE_ROWS, FEATURES)))
        parts = [self.ids[start::processes] for start in range(processes)]
        self.processes = [DeviceProcess(self._plan(part)) for part in parts]

    def _plan(self, ids: Sequence[str]) -> Plan:
        devices = [(one, self._identities[one].certificate, self._identities[one].key) for one in ids]
        return Plan(
            self.broker.device_port,
            self.broker.devices.certificate_path,
            devices,
            self._reference.edges.to_lists(),
            len(CONFIDENCE_EDGES) + 1,
            MODEL,
            WINDOW_ROWS,
        )

    def prepare(self, mix: Mix, seconds: float) -> None:
        """Have the devices build what they will say."""
        turns = int(MOST_PER_S[mix.name] * seconds / (mix.windows + mix.beats) / len(self.ids)) + 1
        for process in self.processes:
            process.prepare(mix, turns)
        for process in self.processes:
            process.wait()

    def send(self, seconds: float) -> Sent:
        """Have all devices send, and return what they have sent."""
        for process in self.processes:
            process.run(seconds)
        parts = [sent for process in self.processes if (sent := process.wait()) is not None]
        return Sent(
            windows=sum(one.windows for one in parts),
            beats=sum(one.beats for one in parts),
            batches=sum(one.batches for one in parts),
            bytes=sum(one.bytes for one in parts),
            began_s=min(one.began_s for one in parts),
            ended_s=max(one.ended_s for one in parts),
            cpu_s=sum(one.cpu_s for one in parts),
        )

    def fill(self, url: str) -> None:
        """Bring an empty database to where a fleet serves a version, and a rollout watches the heartbeats."""
        database = Database(url)
        database.upgrade()
        with database.transaction() as session:
            for one in self.ids:
                self._enrol(session, one)
            version = add_version(session, ArtifactStore(str(self.folder / "artifacts")), 1, {}, MODEL)
            version.baseline = self._baseline()
            session.add(version)
            session.add(_rollout())
            session.flush()
            watch(session, ROLLOUT, self.ids)
        database.close()

    def _enrol(self, session: Session, device_id: str) -> None:
        device = add_device(session, device_id)
        row = make_row(
            device_id, files.read_certificate(self._identities[device_id].certificate), datetime.now(UTC),
            self.broker.devices.fingerprint,
        )  # fmt: skip
        use_certificate(device, row)
        session.add(row)

    def _baseline(self) -> dict[str, object]:
        edges, counts = self._reference.edges, self._reference.counts
        ends = edges.bin_offsets
        return {
            "samples": REFERENCE_ROWS,
            "features": [
                {
                    "name": f"feature-{at}",
                    "edges": edges.of_feature(at).tolist(),
                    "counts": counts[ends[at] : ends[at + 1]].tolist(),
                }
                for at in range(FEATURES)
            ],
            "predictions": [REFERENCE_ROWS // 2] * 2,
            "confidence": {
                "name": "confidence",
                "edges": CONFIDENCE_EDGES,
                "counts": [REFERENCE_ROWS // (len(CONFIDENCE_EDGES) + 1)] * (len(CONFIDENCE_EDGES) + 1),
            },
        }

    def close(self) -> None:
        """End the devices."""
        for process in self.processes:
            process.close()


def main() -> None:
    """Measure each mix on both databases, ours and the peer in turn, and print one JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="that each run sends (default 30)")
    parser.add_argument("--devices", type=int, default=240, help="connections (default 240)")
    parser.add_argument("--processes", type=int, default=2, help="of devices (default 2)")
    parser.add_argument("--only", choices=[mix.name for mix in MIXES], help="one of the mixes")
    parser.add_argument("--on", choices=("sqlite", "postgresql"), nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-ingest-") as name:
        folder = Path(name)
        os.environ["SHOAL_PASSPHRASE_FILE"] = str(folder / "passphrase")
        with running_broker(folder) as broker:
            bench = Bench(broker, folder, options.devices, options.processes)
            try:
                for mix in MIXES:
                    if options.only in {None, mix.name}:
                        bench.prepare(mix, options.seconds)
                        for engine in options.on:
                            measure(bench, mix, engine, options.seconds, has_peer=not options.no_peer)
            finally:
                bench.close()


def measure(bench: Bench, mix: Mix, engine: str, seconds: float, *, has_peer: bool) -> None:
    """Measure ours and the peer on databases of their own."""
    with databases(engine, bench.folder) as new_url:
        url = new_url(f"ours-{mix.name}")
        bench.fill(url)
        with running_ingest(bench, url) as pid:
            ours = run(bench, pid, seconds, lambda: count_ours(url))
        peer = None
        if has_peer:
            url = new_url(f"peer-{mix.name}")
            with running_peer(bench, url) as pid:
                peer = run(bench, pid, seconds, lambda: count_peer(url))
    print_figure(mix, engine, ours, peer)


def run(bench: Bench, pid: int, seconds: float, count: Callable[[], tuple[int, int]]) -> Outcome:
    """Have the devices send, and count what was kept; what was sent last may still be on its way."""
    broker_pid = bench.broker.process.pid
    assert broker_pid is not None
    before = [cpu_s(one) for one in (pid, broker_pid)]
    sent = bench.send(seconds)
    spent = [cpu_s(one) - then for one, then in zip((pid, broker_pid), before, strict=True)]
    kept, deadline_s = count(), time.monotonic() + 10
    while sum(kept) < sent.windows + sent.beats and time.monotonic() < deadline_s:
        time.sleep(0.2)
        kept = count()
    return Outcome(sent, *kept, *spent)


@contextmanager
def running_ingest(bench: Bench, url: str) -> Iterator[int]:
    """Run the hub's ingest process, and give its id."""
    environment = {**os.environ, "SHOAL_DATA": str(bench.folder), "SHOAL_DATABASE_URL": url}
    settings = Settings.read(environment)
    hub = bench.broker.config.hub
    Addresses(
        api_url="https://127.0.0.1:1", api_port=1, broker_host="127.0.0.1", broker_port=bench.broker.device_port,
        hub_listener_host="127.0.0.1", hub_listener_port=hub.port,
    ).write(settings)  # fmt: skip
    mark = mark_of(settings, "ingest")
    mark.unlink(missing_ok=True)
    with (bench.folder / "ingest.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "shoal_hub.processes", "ingest"], env=environment, stdout=log, stderr=log
        )
    try:
        wait_until(process, mark.exists, bench.folder / "ingest.log")
        yield process.pid
    finally:
        process.terminate()
        process.wait(START_S)


@contextmanager
def running_peer(bench: Bench, url: str) -> Iterator[int]:
    """Run the plain subscriber, and give its process id."""
    endpoint = bench.broker.endpoint("hub-bench-peer")
    identity = endpoint.identity
    place = url.removeprefix("sqlite:///") if url.startswith("sqlite") else url
    files = [endpoint.authority, identity.certificate, identity.key]
    script = Path(__file__).parent / "ingest_parts" / "peer.py"
    process = subprocess.Popen(
        [sys.executable, script, place, str(endpoint.port), *map(str, files)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "the peer did not start"
        yield process.pid
    finally:
        process.kill()
        process.wait()


def wait_until(process: "subprocess.Popen[bytes]", holds: Callable[[], bool], log: Path) -> None:
    """Wait for a process to be ready."""
    deadline_s = time.monotonic() + START_S
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline_s:
            sys.exit(f"the ingest process is not ready: {log.read_text()[-3000:]}")
        time.sleep(0.05)


@contextmanager
def databases(engine: str, folder: Path) -> Iterator[Callable[[str], str]]:
    """Give URLs of empty databases of a kind."""
    if engine == "sqlite":
        yield lambda name: f"sqlite:///{folder}/{name}.sqlite"
        return
    cluster = PostgresCluster(is_durable=True)
    try:
        yield lambda _: cluster.url(cluster.create())
    finally:
        cluster.stop()


def count_ours(url: str) -> tuple[int, int]:
    """Return the windows that the hub has stored, and the heartbeats that it has added up."""
    database = Database(url)
    try:
        with database.session() as session:
            connection = session.connection()
            windows = connection.execute(text("SELECT count(*) FROM windows")).scalar_one()
            beats = connection.execute(text("SELECT coalesce(sum(beats), 0) FROM device_vitals")).scalar_one()
            refused = connection.execute(text("SELECT count(*) FROM quarantined_windows")).scalar_one()
            assert not refused, f"{refused} windows were set aside"
            return int(windows), int(beats)
    finally:
        database.close()


def count_peer(url: str) -> tuple[int, int]:
    """Return the windows and the heartbeats that the peer has stored."""
    wanted = "SELECT coalesce(sum(kind = 'window'), 0), coalesce(sum(kind <> 'window'), 0) FROM messages"
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///")).execute(wanted).fetchone()  # type: ignore[no-any-return]
    with psycopg.connect(url) as database:
        wanted = (
            "SELECT count(*) FILTER (WHERE kind = 'window'), count(*) FILTER (WHERE kind <> 'window') FROM messages"
        )
        return database.execute(wanted).fetchone()  # type: ignore[return-value]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, by the scheduler's own account."""
    return time.clock_gettime(~pid << 3 | 2)


def _rollout() -> Rollout:
    return Rollout(
        id=ROLLOUT,
        model=MODEL,
        version=1,
        manifest_sha256="0" * 64,
        manifest_size_bytes=1,
        waves=[1],
        timeout_s=600,
        state="running",
        created_by="bench",
        created_at=datetime.now(UTC),
    )


def print_figure(mix: Mix, engine: str, ours: Outcome, peer: Outcome | None) -> None:
    """Print one line."""
    holds = ours.per_s >= GOAL_PER_S and ours.lost == 0
    line = {
        "name": f"ingest_{mix.name}_{engine}", "unit": "messages/s", "ours": round(ours.per_s),
        "peer": round(peer.per_s) if peer else None,
        "peer_name": "paho subscriber + SQL insert, no signature checked",
        "ratio": round(ours.per_s / peer.per_s, 3) if peer else None, "n": ours.messages,
        "lost": ours.lost, "peer_lost": peer.lost if peer else None, "seconds": round(ours.seconds, 1),
        "windows": ours.windows, "heartbeats": ours.beats, "signatures": ours.sent.batches + ours.beats,
        "mb": round(ours.sent.bytes / 1e6, 1),
        "cpu_us_a_message": round(1e6 * ours.server_cpu_s / ours.messages, 1),
        "peer_cpu_us_a_message": round(1e6 * peer.server_cpu_s / peer.messages, 1) if peer else None,
        "broker_cpu_s": round(ours.broker_cpu_s, 1), "devices_cpu_s": round(ours.sent.cpu_s, 1),
        "goal": f"at least {GOAL_PER_S} a second, none lost", "holds": holds,
    }  # fmt: skip
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
