"""Enrolment over the real API: how many devices a second a hub takes in, and whether that depends on its fleet.

Two whole hubs run beside each other, one without devices and one with 20,000. Both get the same batches in turn, each
device as the agent does it: HTTPS to read the CA, HTTPS again to send its signing request with a token.

Run it as `python benchmarks/enrolment.py`; it needs Mosquitto, as every hub does.
"""

import argparse
import http.client
import json
import os
import secrets
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

from cryptography import x509  # noqa: E402 - the paths above come first
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402
from sqlalchemy import insert  # noqa: E402
from sqlmodel import SQLModel  # noqa: E402
from tests.simulators.hub_process import HubProcess  # noqa: E402

from shoal_agent.hardware import detect  # noqa: E402
from shoal_agent.identity import make_signing_request  # noqa: E402
from shoal_contract.desired import DesiredConfig, DesiredState  # noqa: E402
from shoal_contract.enrolment import EnrolmentRequest, parse_token  # noqa: E402
from shoal_contract.envelope import DESIRED_STATE_TYPE  # noqa: E402
from shoal_contract.ids import new_device_id  # noqa: E402
from shoal_hub.database import Database, utc_now  # noqa: E402
from shoal_hub.devices.certificate_request import read_certificate_request  # noqa: E402
from shoal_hub.devices.certificates import DeviceCertificate  # noqa: E402
from shoal_hub.devices.compose import compose  # noqa: E402
from shoal_hub.devices.tables import DesiredRow, Device, EnrolmentTokenRow, EnrolmentUse  # noqa: E402
from shoal_hub.events.tables import EventRow  # noqa: E402
from shoal_hub.trust.ca import DeviceAuthority  # noqa: E402
from shoal_hub.trust.director import Director  # noqa: E402

LEAST_PER_S = 50.0
MAX_RATIO = 1.25
"""Room for noise on a shared machine; a cost that grows with the fleet would be many times that."""
THREADS = 4
NO_LIMIT = {"SHOAL_ENROL_PER_MINUTE": "1000000"}
TOKEN_USES = 10_000
TOKEN_ID = "et-filled"  # noqa: S105 - the name of a row


class Cost(NamedTuple):
    """What one device took: of the clock, and of the API process's CPU by the scheduler's account."""

    wall_s: float
    cpu_s: float


class Target(NamedTuple):
    """A hub that takes devices in."""

    pid: int
    host: str
    port: int
    secret: str
    context: ssl.SSLContext


def main() -> None:
    """Measure, and print one JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="paired batches; medians are printed (default 9)")
    parser.add_argument("--batch", type=int, default=100, help="devices a batch (default 100)")
    parser.add_argument("--fleet", type=int, default=20_000, help="devices of the large hub (default 20000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-enrolment-") as name:
        os.environ["SHOAL_PASSPHRASE_FILE"] = str(Path(name) / "passphrase")  # of both hubs
        small, large = HubProcess(Path(name) / "small", **NO_LIMIT), HubProcess(Path(name) / "large", **NO_LIMIT)
        try:
            small.start()
            large.start()
            fill(large, options.fleet)
            measure(target_of(small), target_of(large), DeviceAuthority.open(Path(name) / "bare"), options)
        finally:
            small.close()
            large.close()


def measure(small: Target, large: Target, bare: DeviceAuthority, options: argparse.Namespace) -> None:
    """Give both hubs the same batches in turn; the first pair warms up and is not counted."""
    costs: dict[str, list[Cost]] = {"small": [], "large": [], "bare": []}
    for run in range(options.runs + 1):
        requests = [make_signing_request(ec.generate_private_key(ec.SECP256R1())) for _ in range(options.batch)]
        took = {
            "small": enrol_all(small, requests),
            "large": enrol_all(large, requests),
            "bare": sign_all(bare, requests),
        }
        if run:
            for name, value in took.items():
                costs[name].append(value)
    for name, devices in (("small", 0), ("large", options.fleet)):
        rates = [1 / cost.wall_s for cost in costs[name]]
        print_figure(
            f"enrolments_per_s_with_{devices}_devices", "1/s", rates, [1 / cost.wall_s for cost in costs["bare"]],
            "the same requests read and signed in one process, without HTTPS or database", f"at least {LEAST_PER_S:g}",
            statistics.median(rates) >= LEAST_PER_S,
        )  # fmt: skip
    ours, peer = ([1000 * cost.cpu_s for cost in costs[name]] for name in ("large", "small"))
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    print_figure(
        f"enrolment_cpu_with_{options.fleet}_devices", "ms", ours, peer, "the same hub without devices",
        f"ratio at most {MAX_RATIO:g}", ratio <= MAX_RATIO,
    )  # fmt: skip


def print_figure(
    name: str, unit: str, ours: Sequence[float], peer: Sequence[float], peer_name: str, goal: str, holds: bool
) -> None:
    """Print one JSON line; the ratio is the median of the pairs' ratios, ours by the peer's."""
    line = {
        "name": name,
        "unit": unit,
        "ours": round(statistics.median(ours), 3),
        "peer": round(statistics.median(peer), 3),
        "peer_name": peer_name,
        "ratio": round(statistics.median(a / b for a, b in zip(ours, peer, strict=True)), 3),
        "n": len(ours),
        "goal": goal,
        "holds": holds,
    }
    print(json.dumps(line), flush=True)


def enrol_all(target: Target, requests: Sequence[str]) -> Cost:
    """Enrol one device a request, several at once; return what one took."""
    hardware = detect()
    bodies = [
        EnrolmentRequest(token=target.secret, csr_pem=csr, name="bench", hardware=hardware).to_bytes()
        for csr in requests
    ]
    started_s, cpu_s = time.perf_counter(), cpu_of(target.pid)
    with ThreadPoolExecutor(THREADS) as pool:
        ids = set(pool.map(lambda body: enrol_one(target, body), bodies))
    cost = Cost((time.perf_counter() - started_s) / len(requests), (cpu_of(target.pid) - cpu_s) / len(requests))
    if len(ids) != len(requests):
        sys.exit(f"{len(requests)} devices asked, {len(ids)} were enrolled")
    return cost


def enrol_one(target: Target, body: bytes) -> str:
    """Do what the agent does, with a connection a request, and return the device's id."""
    ask(target, "GET", "/api/v1/ca.pem", None)
    answer: dict[str, Any] = json.loads(ask(target, "POST", "/api/v1/enrol", body))
    return str(answer["device_id"])


def ask(target: Target, method: str, path: str, body: bytes | None) -> bytes:
    """Send one request over a connection of its own."""
    connection = http.client.HTTPSConnection(target.host, target.port, timeout=30, context=target.context)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != http.client.OK:
        sys.exit(f"{method} {path}: {response.status} {content[:500]!r}")
    return content


def sign_all(authority: DeviceAuthority, requests: Sequence[str]) -> Cost:
    """Read and sign the same requests without a hub; return what one took."""
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for csr in requests:
        authority.issue(read_certificate_request(csr), new_device_id())
    return Cost((time.perf_counter() - started_s) / len(requests), (time.process_time() - cpu_s) / len(requests))


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def target_of(hub: HubProcess) -> Target:
    """Return how devices reach a hub, with a token for all of them."""
    with hub.client() as client:
        secret = parse_token(client.tokens.create(uses=TOKEN_USES).token).secret.get_secret_value()
    address = urlsplit(hub.url)
    context = ssl.create_default_context(cafile=str(hub.data / "trust" / "ca.pem"))
    return Target(hub.pid_of("api"), address.hostname or "", address.port or 0, secret, context)


def fill(hub: HubProcess, count: int) -> None:
    """Put devices into a hub's database as enrolment and the controller leave them, with what belongs to each."""
    database, now = Database(f"sqlite:///{hub.data / 'hub.sqlite'}"), utc_now()
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = DeviceAuthority.open(hub.data / "trust").issue(csr, new_device_id()).public_bytes(Encoding.PEM).decode()
    token = EnrolmentTokenRow(
        id=TOKEN_ID, secret_sha256="0" * 64, created_at=now, expires_at=now, uses_left=0, created_by="bench"
    )
    rows: dict[type[SQLModel], list[dict[str, Any]]] = {
        Device: [],
        DeviceCertificate: [],
        EnrolmentUse: [],
        EventRow: [],
        DesiredRow: [],
    }
    director = Director.open(hub.data / "trust")
    for number in range(count):
        devices = rows_of(f"cam-{number}", pem, now)
        for row in (*devices, desired_of(devices[0], director, now)):
            rows[type(row)].append(row.model_dump(exclude={"id"} if isinstance(row, EventRow) else None))
    with database.transaction() as session:
        session.add(token)
        session.flush()
        for table, content in rows.items():
            session.execute(insert(table), content)
    database.close()


def rows_of(name: str, pem: str, now: datetime) -> list[SQLModel]:
    """Return what the enrolment of one device leaves in the database."""
    device_id, key, serial = new_device_id(), secrets.token_hex(32), secrets.token_hex(20)
    ends = now + timedelta(days=365)
    return [
        Device(id=device_id, name=name, public_key_sha256=key, certificate_serial=serial, certificate_expires_at=ends,
               enrolled_at=now, hardware=detect().model_dump(mode="json")),
        DeviceCertificate(serial=serial, device_id=device_id, key_sha256=key, public_key=bytes(91),
                          authority="0" * 64, certificate_pem=pem, issued_at=now, expires_at=ends),
        EnrolmentUse(token_id=TOKEN_ID, public_key_sha256=key, device_id=device_id, used_at=now),
        EventRow(at=now, received_at=now, device_id=device_id, kind="device_enrolled", severity="info",
                 subject=f"device/{device_id}", message=f"{name} enrolled", body={}),
    ]  # fmt: skip


def desired_of(device: SQLModel, director: Director, now: datetime) -> DesiredRow:
    """Return the state that the controller has signed for a device of which nothing is wanted yet."""
    device_id, until = str(device.model_dump()["id"]), now + timedelta(days=30)
    state = DesiredState(
        device_id=device_id, epoch=director.epoch, generation=1, issued_at=now, expires_at=until, config=DesiredConfig()
    )
    return DesiredRow(
        device_id=device_id, epoch=director.epoch, generation=1, content_sha256=compose([], now).content_sha256,
        envelope=director.sign(state.to_bytes(), DESIRED_STATE_TYPE), issued_at=now, expires_at=until,
    )  # fmt: skip


if __name__ == "__main__":
    main()
