"""Queries over a large fleet: the CPU that it takes to find the devices that match, in a real database.

100,000 devices with tags, hardware and a reported state are written into a SQLite file; each query is then asked as a
rollout over a group asks it. The peer is reading and decoding the same columns of every row, without deciding anything.

Run it as `python benchmarks/device_queries.py`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

from sqlalchemy import insert  # noqa: E402 - the paths above come first
from sqlmodel import Session, col, select  # noqa: E402
from tests.simulators.rows import NOON, make_report  # noqa: E402

from shoal_contract.ids import new_device_id  # noqa: E402
from shoal_hub.database import Database  # noqa: E402
from shoal_hub.devices.matching import READ_BATCH_ROWS, load_devices, matching_ids  # noqa: E402
from shoal_hub.devices.query import parse_query  # noqa: E402
from shoal_hub.devices.tables import Device  # noqa: E402

MOST_S = 5.0
QUERIES = {
    "tags": "tags.site = paris",
    "all_of_it": (
        "tags.site = paris and hardware.kind in (raspberry-pi, jetson) and presence = online "
        "and not models.digits.version >= 3"
    ),
    "reported": "models.digits.version < 3 or agent_version < 0.2 or last_seen > 1d",
}


def main() -> None:
    """Measure, and print one JSON line a query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000, help="devices in the fleet")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each query")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-queries-") as folder:
        database = Database(f"sqlite:///{folder}/hub.sqlite")
        database.upgrade()
        _fill(database, options.devices)
        for name, text in QUERIES.items():
            _measure(database, name, text, options.rounds)
        database.close()


def _fill(database: Database, count: int) -> None:
    rows = [_row(number) for number in range(count)]
    with database.engine.begin() as connection:
        connection.execute(insert(Device), rows)


def _row(number: int) -> dict[str, object]:
    slot = {"version": number % 4 + 1, "target": "pi4-litert-int8", "sha256": "0" * 64, "state": "good"}
    section = {"state": "applied", "deployment": f"dp-{number}"}
    hardware = {"kind": "raspberry-pi", "model": "Raspberry Pi 5", "architecture": "aarch64", "cores": 4}
    report = make_report(
        hardware=hardware | {"memory_bytes": 2**33},
        targets=("pi4-litert-int8", "generic-onnx-int8"),
        models={f"model-{n}": {"active": slot} for n in range(3)} | {"digits": {"active": slot, "previous": slot}},
        sections={f"models/model-{n}": section for n in range(3)} | {"models/digits": section, "config": section},
    )
    device_id = new_device_id()
    return {
        "id": device_id,
        "name": f"device-{number:06}",
        "tags": {"site": ("paris", "lyon", "lille", "metz")[number % 4], "floor": str(number % 9)},
        "public_key_sha256": f"{number:064}",
        "certificate_serial": str(number),
        "enrolled_at": NOON,
        "presence": "online" if number % 10 else "offline",
        "last_seen_at": NOON - timedelta(seconds=number),
        "reported": report.model_dump(mode="json"),
    }


def _measure(database: Database, name: str, text: str, rounds: int) -> None:
    query = parse_query(text)
    wanted = select(*(col(getattr(Device, one)) for one in sorted(query.columns | {"id", "name"})))
    reading = wanted.where(col(Device.revoked_at).is_(None)).execution_options(yield_per=READ_BATCH_ROWS)
    found = 0
    ids, devices, peer = [], [], []
    with database.session() as session:
        for _ in range(rounds):
            peer.append(_timed(lambda s: sum(1 for _ in s.exec(reading)), session)[0])
            took_s, found = _timed(lambda s: len(list(matching_ids(s, query, NOON))), session)
            ids.append(took_s)
            session.expunge_all()
            devices.append(_timed(lambda s: len(load_devices(s, list(matching_ids(s, query, NOON)))), session)[0])
    _tell(f"query_{name}_ids", ids, peer, found, MOST_S)
    _tell(f"query_{name}_devices", devices, peer, found, None)


def _timed(work: Callable[[Session], int], session: Session) -> tuple[float, int]:
    begun = time.process_time()  # SQLite works in this process; by the clock, neighbours on the machine would count
    count = work(session)
    return time.process_time() - begun, count


def _tell(name: str, ours: list[float], peer: list[float], found: int, most_s: float | None) -> None:
    ours_s, peer_s = statistics.median(ours), statistics.median(peer)
    line = {
        "name": name,
        "unit": "s of CPU",
        "ours": round(ours_s, 3),
        "peer": round(peer_s, 3),
        "peer_name": "reading the same columns of every row",
        "ratio": round(peer_s / ours_s, 2),
        "n": len(ours),
        "matches": found,
        "goal": None if most_s is None else f"at most {most_s:g} s",
        "holds": None if most_s is None else ours_s <= most_s,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
