"""One 10 MB artifact to 1 and to 20 devices: our retained chunks against nginx over HTTPS with client certificates.

Both servers are real, on loopback, with the same device certificates; receivers use the agent's own fetcher, or
read and hash the same file over HTTPS. Measured is what the server's CPU and the clock say of whole transfers.

Run it as `python benchmarks/transfer.py`; nginx comes from the distribution (`apt-get install nginx-light`).
"""

import argparse
import hashlib
import http.client
import json
import os
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub"))]

import anyio  # noqa: E402 - the paths above come first
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from tests.simulators.broker import Broker, listening, running_broker  # noqa: E402

from shoal_agent.blobs import BlobStore  # noqa: E402
from shoal_agent.clock import Clock  # noqa: E402
from shoal_agent.fetch import Fetcher  # noqa: E402
from shoal_agent.identity import load_identity, load_or_make_key, make_signing_request, save_identity  # noqa: E402
from shoal_agent.link import Link  # noqa: E402
from shoal_agent.pairs import Pairs  # noqa: E402
from shoal_agent.settings import FetchSettings, LinkSettings  # noqa: E402
from shoal_agent.signer import DeviceSigner  # noqa: E402
from shoal_contract import topics  # noqa: E402
from shoal_contract.artifact_ref import ArtifactRef  # noqa: E402
from shoal_contract.enrolment import EnrolmentResponse  # noqa: E402
from shoal_contract.ids import new_device_id, sha256_hex  # noqa: E402
from shoal_contract.transfer import chunk_bytes_for, describe, split  # noqa: E402
from shoal_hub.broker.ports import free_port  # noqa: E402

ARTIFACT_BYTES = 10 * 1000 * 1000
MAX_CPU_RATIO = 1.3
START_S = 15.0


class Cost(NamedTuple):
    """What one transfer to all devices took."""

    wall_s: float
    server_cpu_s: float


def main() -> None:
    """Measure, and print one JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="paired runs; medians are printed (default 7)")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 20], help="numbers of devices (default 1 20)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-transfer-") as name:
        folder = Path(name)
        data = os.urandom(ARTIFACT_BYTES)
        with running_broker(folder / "hub") as broker, running_nginx(folder / "nginx", broker, data) as nginx:
            publish(broker, data)
            for count in options.devices:
                devices = [enrol(broker, folder / "devices" / str(index)) for index in range(count)]
                measure(broker, nginx, devices, sha256_hex(data), options.runs)


def measure(broker: Broker, nginx: "Nginx", devices: list[Path], sha256: str, runs: int) -> None:
    """Run both in turn and print their medians; the first pair warms up and is not counted."""
    server = broker.process.pid
    if server is None:
        sys.exit("the broker has ended")
    ours: list[Cost] = []
    peer: list[Cost] = []
    for run in range(runs + 1):
        mqtt = anyio.run(over_mqtt, devices, sha256, [server])
        https = over_https(nginx, devices, sha256)
        if run:
            ours.append(mqtt)
            peer.append(https)
    print_figure(f"broker_cpu_s_{len(devices)}_devices", ours, peer, lambda cost: cost.server_cpu_s, MAX_CPU_RATIO)
    print_figure(f"wall_s_{len(devices)}_devices", ours, peer, lambda cost: cost.wall_s, None)


def print_figure(
    name: str, ours: list[Cost], peer: list[Cost], value: Callable[[Cost], float], most: float | None
) -> None:
    """Print one JSON line; the ratio is the median of the pairs' ratios."""
    ratio = statistics.median(value(a) / value(b) for a, b in zip(ours, peer, strict=True))
    line = {
        "name": name,
        "unit": "s",
        "ours": round(statistics.median(map(value, ours)), 4),
        "peer": round(statistics.median(map(value, peer)), 4),
        "peer_name": "nginx, HTTPS with client certificates",
        "ratio": round(ratio, 3),
        "n": len(ours),
        "goal": f"ratio at most {most}" if most else "reported beside the CPU",
        "holds": ratio <= most if most else None,
    }
    print(json.dumps(line), flush=True)


async def over_mqtt(devices: list[Path], sha256: str, server: list[int]) -> Cost:
    """Fetch with the agent's own link and fetcher, all devices connected before the clock starts."""
    started = anyio.Event()
    ready = anyio.Semaphore(0)
    cost: list[Cost] = []

    async def device(folder: Path) -> None:
        shutil.rmtree(folder / "blobs", ignore_errors=True)
        connections = iter(range(int(time.time() * 1000), 2**62))
        signer = DeviceSigner(load_or_make_key(folder / "identity"))
        identity = load_identity(folder / "identity")
        link = Link(identity, Pairs(identity.folder), signer, LinkSettings(), lambda: next(connections), Clock(None))

        async def ask_again(_sha256: str, detail: str) -> None:
            raise RuntimeError(detail)

        fetcher = Fetcher(link, BlobStore(folder / "blobs"), ask_again, FetchSettings())
        async with link.running():
            await link.wait_connected()
            ready.release()
            await started.wait()
            await fetcher.fetch(ArtifactRef(sha256=sha256, size_bytes=ARTIFACT_BYTES))
            ready.release()
            await finished.wait()

    finished = anyio.Event()
    async with anyio.create_task_group() as group:
        for folder in devices:
            group.start_soon(device, folder)
        for _ in devices:
            await ready.acquire()
        before_s, begun_s = cpu_s(server), time.perf_counter()
        started.set()
        for _ in devices:
            await ready.acquire()
        cost.append(Cost(time.perf_counter() - begun_s, cpu_s(server) - before_s))
        finished.set()
    return cost[0]


def over_https(nginx: "Nginx", devices: list[Path], sha256: str) -> Cost:
    """Download and hash the file with each device's certificate, all connected before the clock starts."""
    connections = [nginx.connect(folder) for folder in devices]

    def download(connection: http.client.HTTPSConnection) -> None:
        connection.request("GET", "/artifact")
        response, digest = connection.getresponse(), hashlib.sha256()
        while block := response.read(128 * 1024):
            digest.update(block)
        if digest.hexdigest() != sha256:
            raise RuntimeError("nginx sent other bytes")

    before_s, begun_s = cpu_s(nginx.pids()), time.perf_counter()
    with ThreadPoolExecutor(len(devices)) as pool:
        list(pool.map(download, connections))
    cost = Cost(time.perf_counter() - begun_s, cpu_s(nginx.pids()) - before_s)
    for connection in connections:
        connection.close()
    return cost


class Nginx(NamedTuple):
    """A running nginx with one worker, as Mosquitto has one thread."""

    master: int
    port: int
    authority: Path

    def pids(self) -> list[int]:
        """The master and its worker."""
        children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()
        return [self.master, *map(int, children)]

    def connect(self, folder: Path) -> http.client.HTTPSConnection:
        """Connect with a device's certificate."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(folder / "identity" / "device.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context)
        connection.connect()
        return connection


NGINX_CONF = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; root {folder}/files;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_client_certificate {authority}; ssl_verify_client on;
  }}
}}
"""


@contextmanager
def running_nginx(folder: Path, broker: Broker, data: bytes) -> Iterator[Nginx]:
    """Serve the artifact with the same server certificate and the same CA for clients as the broker."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        sys.exit("nginx is not installed; install it, on Debian: apt-get install nginx-light")
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "artifact").write_bytes(data)
    identity, port = broker.config.devices.identity, free_port()
    conf = NGINX_CONF.format(
        folder=folder,
        port=port,
        certificate=identity.certificate,
        key=identity.key,
        authority=broker.devices.certificate_path,
        user="user root;" if os.geteuid() == 0 else "",
    )
    (folder / "nginx.conf").write_text(conf)
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        nginx = Nginx(process.pid, port, broker.devices.certificate_path)
        wait_until(lambda: (folder / "nginx.pid").exists() and len(nginx.pids()) > 1)
        yield nginx
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def publish(broker: Broker, data: bytes) -> None:
    """Publish the artifact as the hub does: chunks, then the transfer manifest, all retained."""
    manifest = describe(data, chunk_bytes_for(len(data)))
    with listening(broker.endpoint("hub-bench")) as hub:
        for index, chunk in enumerate(split(data, manifest.chunk_bytes)):
            topic = topics.artifact_chunk(manifest.sha256, index)
            hub.connection.publish(topic, chunk, qos=1, retain=True).result(START_S)
        topic = topics.artifact_manifest(manifest.sha256)
        hub.connection.publish(topic, manifest.to_bytes(), qos=1, retain=True).result(START_S)


def enrol(broker: Broker, folder: Path) -> Path:
    """Give a simulated device its identity, once."""
    identity = folder / "identity"
    if not (identity / "hub.json").exists():
        csr = x509.load_pem_x509_csr(make_signing_request(load_or_make_key(identity)).encode())
        device_id = new_device_id()
        certificate = broker.devices.issue(csr, device_id).public_bytes(serialization.Encoding.PEM).decode()
        response = EnrolmentResponse(
            device_id=device_id,
            certificate_pem=certificate,
            ca_pem=broker.devices.certificate_pem,
            broker_host="127.0.0.1",
            broker_port=broker.device_port,
            trust_root=broker.repository.trust_root.decode(),
        )
        save_identity(identity, response)
    return folder


def cpu_s(pids: list[int]) -> float:
    """CPU seconds that the processes have used, from the scheduler's own account (nanoseconds)."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a server's start."""
    deadline_s = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > deadline_s:
            sys.exit("the server did not start in time")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
