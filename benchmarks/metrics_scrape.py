"""What `/metrics` of the hub costs with a large fleet: a scrape that reads the database, part by part, and others.

100,000 devices with a reported and a desired state, and two windows each, are written into a SQLite file. The goal is
that what is read anew, at most as often as a hundredth of a core allows, is there within the time that Prometheus waits
(10 s by default), and that all other scrapes cost next to nothing. The peer is one pass through the devices' rows.

Run it as `python benchmarks/metrics_scrape.py`.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

from sqlalchemy import insert, text  # noqa: E402 - the paths above come first
from tests.simulators.rows import make_report  # noqa: E402

from shoal_contract.ids import new_device_id  # noqa: E402
from shoal_hub.database import Database, utc_now  # noqa: E402
from shoal_hub.devices.tables import DesiredRow, Device  # noqa: E402
from shoal_hub.monitoring.tables import WindowRow  # noqa: E402
from shoal_hub.observe.exposition import HubMetrics  # noqa: E402
from shoal_hub.settings import Settings  # noqa: E402

MOST_FRESH_S = 10.0
MOST_KEPT_S = 0.02
_PART = 5000
_TOOK = re.compile(r'^shoal_metrics_read_duration_seconds{section="(\w+)"} (\S+)$', re.MULTILINE)


def main() -> None:
    """Measure, and print a JSON line for each part and for a scrape that reads nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000, help="devices in the fleet")
    parser.add_argument("--rounds", type=int, default=5, help="scrapes of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-metrics-") as folder:
        database = Database(f"sqlite:///{folder}/hub.sqlite")
        database.upgrade()
        _fill(database, options.devices)
        _measure(database, Path(folder), options.rounds)
        database.close()


def _fill(database: Database, count: int) -> None:
    now = utc_now()
    for start in range(0, count, _PART):
        ids = [new_device_id() for _ in range(start, min(count, start + _PART))]
        with database.engine.begin() as connection:
            connection.execute(insert(Device), [_device(one, start + place) for place, one in enumerate(ids)])
            states = {"epoch": 1, "generation": 5, "content_sha256": "0" * 64, "envelope": b"x" * 2500}
            states |= {"issued_at": now, "expires_at": now, "conflicts": []}
            connection.execute(insert(DesiredRow), [{"device_id": one, **states} for one in ids])
            windows = [_window(one, place) for place, one in enumerate([*ids, *ids])]
            connection.execute(insert(WindowRow), windows)


def _device(device_id: str, number: int) -> dict[str, object]:
    slot = {"version": number % 4 + 1, "target": "pi4-litert-int8", "sha256": "0" * 64, "state": "good"}
    report = make_report(
        agent_version=f"0.{number % 7}.0",
        models={f"model-{n}": {"active": slot, "previous": slot} for n in range(3)},
        sections={f"models/model-{n}": {"state": "applied", "deployment": f"dp-{number}"} for n in range(3)},
    )
    return {
        "id": device_id,
        "name": f"device-{number:06}",
        "public_key_sha256": f"{number:064}",
        "certificate_serial": str(number),
        "enrolled_at": utc_now(),
        "presence": "online" if number % 10 else "offline",
        "reported": report.model_dump(mode="json"),
        "reported_epoch": 1,
        "reported_generation": 5 if number % 50 else 4,
    }


def _window(device_id: str, number: int) -> dict[str, object]:
    now = utc_now()
    counts = {"requests": 100, "samples": 100, "errors": 1, "labelled": 10, "correct": 9}
    packed = {"features": b"x" * 600, "missing": b"x" * 20, "predictions": [10] * 10, "confidence": [5] * 20}
    times = {"started_at": now, "ended_at": now, "received_at": now - timedelta(minutes=5 * (number % 3))}
    named = {"device_id": device_id, "model": "digits", "version": number % 3 + 1}
    return {**named, **times, **counts, **packed, "latency": [7] * 14}


def _measure(database: Database, folder: Path, rounds: int) -> None:
    parts: dict[str, list[float]] = {}
    kept: list[float] = []
    peer: list[float] = []
    for _ in range(rounds):
        metrics = HubMetrics(database, Settings(data_dir=folder, metrics_fresh_s=3600))
        for name, took_s in _TOOK.findall(metrics.answer().content.decode()):
            parts.setdefault(name, []).append(float(took_s))
        began_s = time.perf_counter()
        metrics.answer()
        kept.append(time.perf_counter() - began_s)
        began_s = time.perf_counter()
        with database.session() as session:
            session.connection().execute(text("SELECT count(reported), count(hardware) FROM devices")).one()
        peer.append(time.perf_counter() - began_s)
    for name, took_s in parts.items():
        _tell(f"metrics_{name}", took_s, peer, MOST_FRESH_S)
    _tell("metrics_kept", kept, peer, MOST_KEPT_S)


def _tell(name: str, ours: list[float], peer: list[float], most_s: float) -> None:
    ours_s, peer_s = statistics.median(ours), statistics.median(peer)
    line = {
        "name": name,
        "unit": "s",
        "ours": round(ours_s, 4),
        "peer": round(peer_s, 4),
        "peer_name": "one pass through the devices' rows",
        "ratio": round(peer_s / ours_s, 2),
        "n": len(ours),
        "goal": f"at most {most_s:g} s",
        "holds": ours_s <= most_s,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
