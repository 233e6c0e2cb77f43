"""What a large rollout costs the controller: looking at 100,000 devices once, and telling 10,000 what they shall do.

A look at a rollout with a gate compares the windows of all its devices, before and since; it comes once a minute. It
takes the longer, the more windows there are: here each device has told one before and one since.

The hub's own code does the work, on SQLite and on PostgreSQL, and publishes to a real Mosquitto. There is no peer: what
others' servers do for a rollout is spread over their APIs, and no part of it can be called alone.

Run it as `python benchmarks/controller.py`; PostgreSQL comes from the distribution.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [
    str(ROOT),
    *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client", "training", "compression")),
]

import numpy as np  # noqa: E402 - the paths above come first
from sqlalchemy import bindparam, insert  # noqa: E402
from sqlmodel import col, delete, func, select, update  # noqa: E402
from tests.hub.conftest import open_hub  # noqa: E402
from tests.hub.postgres_cluster import PostgresCluster  # noqa: E402
from tests.simulators.broker import Broker, listening, running_broker  # noqa: E402
from tests.simulators.reconcile import reconcile_rollouts  # noqa: E402
from tests.simulators.rows import add_version, make_report, section  # noqa: E402

from shoal_contract.artifact_ref import ArtifactRef  # noqa: E402
from shoal_contract.desired import DesiredConfig, DesiredModel  # noqa: E402
from shoal_contract.ids import new_device_id  # noqa: E402
from shoal_contract.telemetry import LATENCY_EDGES_MS  # noqa: E402
from shoal_hub.controller.compose_desired import DesiredComposer  # noqa: E402
from shoal_hub.controller.publish_desired import DesiredPublisher  # noqa: E402
from shoal_hub.database import Database, utc_now  # noqa: E402
from shoal_hub.devices.desired_tables import StaleDesired  # noqa: E402
from shoal_hub.devices.tables import DesiredRow, Device, Intent  # noqa: E402
from shoal_hub.gates.tables import GateLook  # noqa: E402
from shoal_hub.monitoring.tables import WindowRow  # noqa: E402
from shoal_hub.rollouts.start import start_rollout, starter_of  # noqa: E402
from shoal_hub.rollouts.tables import Deployment, Rollout  # noqa: E402
from shoal_hub.transfer.publishing import Publisher  # noqa: E402

MODEL, TARGET = "digits", "generic-onnx-int8"
LIFE = timedelta(days=30)
MAX_EVALUATION_S = 1.0
MAX_TELLING_S = 10.0
REPORTS = 1000
REQUESTS, OLD_VERSION, GATE_LOOK_S = 400, 7, 60.0
WINDOW_METRICS = ("error_rate", "slow_requests", "p95_latency", "confidence", "drift", "accuracy")
PART = 5000


class Spent(NamedTuple):
    """Time by the clock, CPU of this process, and how long it was ready to run but others had the CPU, in seconds."""

    wall_s: float
    cpu_s: float
    waited_s: float


class Fleet:
    """A hub's database with so many devices that have reported."""

    def __init__(self, url: str, folder: Path, devices: int) -> None:
        self.database = Database(url)
        self.database.upgrade()
        self.hub = open_hub(self.database, folder)
        self.ids = [new_device_id() for _ in range(devices)]
        report = make_report().model_dump(mode="json")
        now = utc_now()
        self._insert(
            Device,
            (
                {
                    "id": device_id,
                    "name": device_id,
                    "public_key_sha256": device_id,
                    "certificate_serial": "1",
                    "enrolled_at": now,
                    "reported": report,
                    "reported_connection": 1,
                    "reported_sequence": 1,
                    "presence": "online",
                }
                for device_id in self.ids
            ),
        )

    def roll_out(self, **plan: Any) -> None:  # noqa: ANN401 - fields of a RolloutRequest
        """Start a rollout to all, and let it tell all of its first wave."""
        with self.database.transaction() as session:
            add_version(session, self.hub.artifacts, 1, {TARGET: b"model"})
        with self.database.transaction() as session:
            start_rollout(
                session,
                starter_of(self.hub),
                model=MODEL,
                version="1",
                timeout_s=10**6,
                max_failures=0,
                by="bench",
                **plan,
            )
        self.settle()

    def settle(self) -> None:
        """Have the controller look until nothing changes any more."""
        while self.look():
            pass

    def look(self, later_s: float = 0.0) -> bool:
        """Have the controller look at the rollout once, so much later; return whether there may be more to do."""
        return reconcile_rollouts(self.database, utc_now() + timedelta(seconds=later_s))

    def tell_windows(self, devices: Sequence[str], version: int, later_s: float) -> None:
        """Have each device tell what a version saw there: requests, of which one in twenty failed."""
        at, random = utc_now() + timedelta(seconds=later_s), np.random.default_rng(0)
        latency = [0, 0, 0, REQUESTS, *[0] * (len(LATENCY_EDGES_MS) - 3)]
        errors = random.binomial(REQUESTS, 0.05, len(devices))
        common = {
            "model": MODEL, "version": version, "started_at": at, "ended_at": at, "requests": REQUESTS,
            "samples": REQUESTS, "features": b"", "missing": b"", "predictions": [], "confidence": [100, 300],
            "latency": latency, "labelled": 40, "correct": 38, "drift": 0.05,
        }  # fmt: skip
        self._insert(
            WindowRow,
            ({"device_id": one, "errors": int(count), **common} for one, count in zip(devices, errors, strict=True)),
        )

    def report(self, count: int, sequence: int) -> None:
        """Have so many devices report that they serve the version, as ingest keeps it."""
        with self.database.transaction() as session:
            wanted = select(Deployment.id, Deployment.device_id).where(Deployment.state == "assigned")
            told = session.exec(wanted.order_by(Deployment.id).limit(count)).all()
            rows = [
                {"of": device_id, "new": self._serving(deployment), "at": utc_now()} for deployment, device_id in told
            ]
            values: dict[str, Any] = {"reported": bindparam("new"), "reported_at": bindparam("at")}
            statement = update(Device).where(col(Device.id) == bindparam("of"))
            session.connection().execute(statement.values(**values, reported_sequence=sequence), rows)

    def want(self, run: int) -> None:
        """Have a feature want something else of every device: a model and a configuration each."""
        now = utc_now()
        manifest = ArtifactRef(sha256="0" * 64, size_bytes=1)
        model = DesiredModel(version=run + 1, target=TARGET, manifest=manifest, deployment=f"dp-{run}")
        wanted = {f"models/{MODEL}": ("rollout", model), "config": ("default", DesiredConfig())}
        with self.database.transaction() as session:
            session.exec(delete(Intent))
        for name, (kind, body) in wanted.items():
            common = {"section": name, "kind": kind, "owner": "bench", "body": body.model_dump(mode="json")}
            self._insert(Intent, ({"device_id": one, "created_at": now, **common} for one in self.ids))
        self._insert(StaleDesired, ({"device_id": one} for one in self.ids))

    def count_told(self, since: datetime) -> int:
        """Return how many states were signed since then."""
        with self.database.session() as session:
            return session.exec(select(func.count()).where(col(DesiredRow.issued_at) >= since)).one()

    def _serving(self, deployment: str) -> dict[str, Any]:
        slot = {"version": 1, "target": TARGET, "sha256": "0" * 64, "state": "good"}
        return make_report(
            sections={f"models/{MODEL}": section("applied", deployment)}, models={MODEL: {"active": slot}}
        ).model_dump(mode="json")

    def _insert(self, table: type, rows: Iterator[dict[str, Any]]) -> None:
        every = list(rows)
        for start in range(0, len(every), PART):
            with self.database.transaction() as session:
                session.connection().execute(insert(table), every[start : start + PART])


def main() -> None:
    """Measure on both databases, and print one JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000, help="of the rollout that is looked at")
    parser.add_argument("--told", type=int, default=10_000, help="devices that are told their state")
    parser.add_argument("--runs", type=int, default=5, help="runs behind each median (default 5)")
    parser.add_argument("--only", choices=("evaluation", "gate", "telling"), help="one of the figures")
    parser.add_argument("--on", choices=("sqlite", "postgresql"), nargs="+", default=["sqlite", "postgresql"])
    options = parser.parse_args()
    for engine in options.on:
        with databases(engine) as new_url, tempfile.TemporaryDirectory(prefix="shoal-controller-") as name:
            folder = Path(name)
            if options.only in {None, "telling"}:
                with running_broker(folder / "broker") as broker:
                    fleet = Fleet(new_url("told"), folder / "told", options.told)
                    report_telling(fleet, broker, engine, options.runs)
            if options.only in {None, "evaluation"}:
                report_evaluation(
                    Fleet(new_url("evaluated"), folder / "evaluated", options.devices), engine, options.runs
                )
            if options.only in {None, "gate"}:
                report_gate(Fleet(new_url("gated"), folder / "gated", options.devices), engine, options.runs)


@contextmanager
def databases(engine: str) -> Iterator[Callable[[str], str]]:
    """Give URLs of empty databases of a kind."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(prefix="shoal-controller-") as name:
            yield lambda database: f"sqlite:///{name}/{database}.sqlite"
        return
    cluster = PostgresCluster()
    try:
        yield lambda _: cluster.url(cluster.create())
    finally:
        cluster.stop()


def report_evaluation(fleet: Fleet, engine: str, runs: int) -> None:
    """Look at a rollout in which all devices are told: with nothing new, and after some have reported."""
    fleet.roll_out()
    name = f"controller_evaluation_{len(fleet.ids)}_devices"
    quiet = [timed(fleet.look) for _ in range(runs)]
    print_figure(name, engine, quiet, MAX_EVALUATION_S)
    reports = min(REPORTS, len(fleet.ids) // (runs + 1))  # some must be left, or the rollout ends
    busy = []
    for run in range(runs):
        fleet.report(reports, sequence=run + 2)
        busy.append(timed(fleet.look))
        fleet.settle()
    print_figure(f"{name}_after_{reports}_reports", engine, busy, MAX_EVALUATION_S)


def report_gate(fleet: Fleet, engine: str, runs: int) -> None:
    """Look at a rollout whose first wave serves and is held at the gate: nothing so small can be ruled out."""
    devices = len(fleet.ids)
    canaries = devices // 100
    fleet.tell_windows(fleet.ids, OLD_VERSION, -GATE_LOOK_S)
    with fleet.database.transaction() as session:
        add_version(session, fleet.hub.artifacts, OLD_VERSION, {})
    fleet.roll_out(waves=[canaries, devices - canaries], gate=gate_on("error_rate"))
    fleet.report(canaries, sequence=2)
    fleet.settle()
    with fleet.database.session() as session:
        served = list(session.exec(select(Deployment.device_id).where(Deployment.wave == 0)))
    fleet.tell_windows(served, 1, 1.0)
    fleet.tell_windows(sorted(set(fleet.ids) - set(served)), OLD_VERSION, 1.0)
    name = f"controller_evaluation_{devices}_devices_with_a_gate"
    print_figure(name, engine, time_looks(fleet, runs, 2), MAX_EVALUATION_S, windows=2 * devices)
    with fleet.database.transaction() as session:
        row = session.exec(select(Rollout)).one()
        row.plan = row.plan | {"gate": gate_on(*WINDOW_METRICS)}
    spent = time_looks(fleet, runs, 2 + runs)
    print_figure(f"{name}_on_{len(WINDOW_METRICS)}_metrics", engine, spent, MAX_EVALUATION_S, windows=2 * devices)


def gate_on(*metrics: str) -> dict[str, Any]:
    """Return the plan of a gate that holds."""
    of_metrics = [{"name": name} | ({"margin": 1e-5} if name == "error_rate" else {}) for name in metrics]
    return {"metrics": of_metrics, "look_s": GATE_LOOK_S}


def time_looks(fleet: Fleet, runs: int, first: int) -> list[Spent]:
    """Return what each of some looks takes, once a minute from the first one's minute on; the gate holds at all."""
    spent = [timed(lambda later_s=(first + run) * GATE_LOOK_S: fleet.look(later_s)) for run in range(runs)]  # type: ignore[misc]
    with fleet.database.session() as session:
        assert {look.verdict for look in session.exec(select(GateLook))} == {"hold"}
    return spent


def report_telling(fleet: Fleet, broker: Broker, engine: str, runs: int) -> None:
    """Compose, sign and publish the state of every device."""
    director, keys = fleet.hub.director, fleet.hub.version_keys
    composer = DesiredComposer(fleet.database, director, keys, LIFE)
    publisher = DesiredPublisher(fleet.database, director.epoch)
    composing, publishing = [], []
    with listening(broker.endpoint("hub-bench")) as hub:
        for run in range(runs):
            fleet.want(run)
            now = utc_now()
            composing.append(timed(lambda now=now: compose(composer, publisher, now)))  # type: ignore[misc]
            publishing.append(timed(lambda: publish(publisher, hub.connection)))
            assert fleet.count_told(now) == len(fleet.ids)
    name = f"controller_telling_{len(fleet.ids)}_devices"
    both = [Spent(*map(sum, zip(*pair, strict=True))) for pair in zip(composing, publishing, strict=True)]
    print_figure(name, engine, both, MAX_TELLING_S)
    print_figure(f"{name}_compose_and_sign", engine, composing, None)
    print_figure(f"{name}_publish", engine, publishing, None)


def compose(composer: DesiredComposer, publisher: DesiredPublisher, now: datetime) -> None:
    """Compose and sign what is stale, as the controller's loop does."""
    for new in composer.step(now):
        publisher.add(new)


def publish(publisher: DesiredPublisher, connection: Publisher) -> None:
    """Publish until the broker has confirmed all, and the watermark."""
    while publisher.step(connection):
        pass


def timed(work: Callable[[], object]) -> Spent:
    """Return what some work took."""
    before = time.perf_counter(), time.process_time(), waited_s()
    work()
    after = time.perf_counter(), time.process_time(), waited_s()
    return Spent(*(end - begin for begin, end in zip(before, after, strict=True)))


def waited_s() -> float:
    """Return how long this thread has waited for a CPU, by the scheduler's own account."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def print_figure(name: str, engine: str, spent: Sequence[Spent], most_s: float | None, **more: int) -> None:
    """Print one line, with what else belongs to it; the goal is for the clock."""
    wall_s = statistics.median(one.wall_s for one in spent)
    line = {
        "name": name,
        "unit": "s",
        "ours": round(wall_s, 4),
        "peer": None,
        "peer_name": "none",
        "ratio": None,
        "n": len(spent),
        "database": engine,
        "cpu_s": round(statistics.median(one.cpu_s for one in spent), 4),
        "waited_s": round(statistics.median(one.waited_s for one in spent), 4),
        "goal": f"at most {most_s:g} s" if most_s else "a part of the line above",
        "holds": wall_s <= most_s if most_s else None,
        **more,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
