"""`shoal serve` beside a real hub: what it loads, how it follows an alias, its workers, and what it refuses."""

import asyncio
import json
import os
import signal
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import grpc
import httpx
import numpy as np
import onnx
import pytest
from anyio import to_thread
from onnx import helper
from tests.agent.handover.test_handover import busy, check, device
from tests.agent.serving.conftest import served_tiny
from tests.agent.serving.echo import NAMES
from tests.agent.serving.stock_client import GRPC_SCRIPT, visit
from tests.checks.inference_protocol import ProtocolChecks, TritonChecks, TritonGrpcChecks, tiny_request
from tests.fixtures import tiny
from tests.simulators.hub_process import HubProcess
from tests.simulators.redis_process import RedisProcess, library
from tests.simulators.serve_process import ServeProcess, put_version

from shoal_agent.endpoint.keys import ApiKeys
from shoal_agent.engines import NUMPY_TYPES, to_tensor_data
from shoal_agent.enrol import enrol
from shoal_agent.serving.grpc.messages import MESSAGES, SERVICE
from shoal_agent.standalone.site import make_pair
from shoal_contract.desired import HandoverPeer
from shoal_contract.ids import sha256_hex
from shoal_contract.manifest import Datatype, TensorSpec, VersionManifest

pytestmark = pytest.mark.slow
ONNX = "generic-onnx-float32"


@dataclass
class AskedServer:
    """A server over HTTP."""

    client: httpx.AsyncClient

    async def infer(self, body: object, path: str = "/v2/models/tiny/infer") -> httpx.Response:
        return await self.client.post(path, json=body)


def put_tiny(hub: HubProcess, version: int, model: str = "tiny", **changes: object) -> None:
    """Put a version of `tiny` into the registry."""
    data = tiny.path_of(tiny.onnx_variant()).read_bytes()
    put_version(hub, tiny.tiny_manifest(version, model), {ONNX: data}, **changes)


def put_wrong(hub: HubProcess, version: int, model: str = "tiny") -> None:
    """Put a version whose file answers otherwise than it should."""
    manifest = tiny.tiny_manifest(version, model)
    wrong = {"probabilities": to_tensor_data(tiny.probabilities(tiny.GOLDEN)[::-1].copy())}
    variant = manifest.variants[0].model_copy(update={"golden_outputs": wrong})
    put_version(
        hub,
        manifest.model_copy(update={"variants": (variant,)}),
        {ONNX: tiny.path_of(tiny.onnx_variant()).read_bytes()},
    )


def put_echo(hub: HubProcess, kind: str, datatype: Datatype) -> None:
    """Put a model that gives back what it gets."""
    specs = {name: (TensorSpec(name=name, datatype=datatype, shape=(-1, 3)),) for name in ("x", "y")}
    golden = np.zeros((1, 3), dtype=NUMPY_TYPES[datatype])
    if datatype == "BYTES":
        golden = np.array([[b"a", b"", b"b"]], dtype=np.object_)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(str) if datatype == "BYTES" else NUMPY_TYPES[datatype])
    ends = [helper.make_tensor_value_info(name, element, [None, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "echo", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    variant = tiny.onnx_variant().model_copy(update={"golden_outputs": {"y": to_tensor_data(golden)}})
    manifest = tiny.tiny_manifest(model=f"echo-{kind}").model_copy(
        update={
            "inputs": specs["x"],
            "outputs": specs["y"],
            "golden_inputs": {"x": to_tensor_data(golden)},
            "variants": (variant,),
        }
    )
    put_version(hub, VersionManifest.model_validate(manifest.model_dump()), {ONNX: made.SerializeToString()})


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub with version 1 of `tiny`."""
    running = HubProcess(tmp_path_factory.mktemp("hub")).start()
    put_tiny(running, 1)
    yield running
    running.close()


@pytest.fixture(scope="module")
def served(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server of `tiny` with two workers, also at a Unix-domain socket."""
    folder = tmp_path_factory.mktemp("served")
    server = ServeProcess(hub, folder, "--model=tiny@1", "--workers=2", f"--socket={folder / 'asked'}").start()
    yield server
    assert server.stop() == 0, server.log()[-2000:]
    assert not (folder / "asked").exists()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def endpoint(served: ServeProcess) -> AsyncIterator[AskedServer]:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        yield AskedServer(client)


class TestServer(ProtocolChecks):
    """`shoal serve`, of two workers."""


def by_socket(served: ServeProcess) -> httpx.AsyncClient:
    """Return a client of the Unix-domain socket."""
    transport = httpx.AsyncHTTPTransport(uds=json.loads(served.note.read_text())["socket"], verify=False)
    return httpx.AsyncClient(base_url=served.url, transport=transport)


class TestServerAtItsSocket(ProtocolChecks):
    """The same at its Unix-domain socket."""

    @pytest.fixture
    async def endpoint(self, served: ServeProcess) -> AsyncIterator[AskedServer]:
        async with by_socket(served) as client:
            yield AskedServer(client)


@pytest.fixture(scope="module")
def echoes(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server with `tiny` and the echoes, over gRPC as well."""
    for kind, datatype in NAMES.items():
        put_echo(hub, kind, datatype)
    models = ["--model=tiny@1", *(f"--model=echo-{kind}" for kind in NAMES)]
    server = ServeProcess(hub, tmp_path_factory.mktemp("echoes"), *models, "--grpc-port=0").start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def found(echoes: ServeProcess) -> dict[str, Any]:
    """What the stock client found."""
    return anyio.run(visit, echoes.url.removeprefix("http://"))


@pytest.fixture(scope="module")
def found_over_grpc(echoes: ServeProcess) -> dict[str, Any]:
    """What it found over gRPC."""
    return anyio.run(visit, json.loads(echoes.note.read_text())["grpc"], GRPC_SCRIPT)


class TestStockClient(TritonChecks):
    """`shoal serve`, asked by the stock client."""


class TestStockClientOverGrpc(TritonGrpcChecks):
    """The same over gRPC."""

    @pytest.fixture
    def found(self, found_over_grpc: dict[str, Any]) -> dict[str, Any]:
        return found_over_grpc


def counts_of(served: ServeProcess) -> dict[str, float]:
    """Return the requests that each worker has answered."""
    _, text = served.ask("/metrics")
    lines = [line for line in text.splitlines() if line.startswith("shoal_agent_requests_total")]
    return {line.partition('worker="')[2][0]: float(line.rpartition(" ")[2]) for line in lines}


@pytest.mark.anyio
async def test_connections_to_the_socket_go_to_workers_in_turn(served: ServeProcess) -> None:
    before = counts_of(served)
    for _ in range(10):
        async with by_socket(served) as client:
            assert (await client.post("/v2/models/tiny/infer", json=tiny_request())).status_code == 200
    assert {number: count - before.get(number, 0) for number, count in counts_of(served).items()} == {"1": 5, "2": 5}


@pytest.mark.anyio
async def test_workers_answer_over_grpc_at_one_port(hub: HubProcess, tmp_path: Path) -> None:
    server = ServeProcess(hub, tmp_path, "--model=tiny@1", "--workers=2", "--grpc-port=0").start()
    try:
        address = json.loads(server.note.read_text())["grpc"]
        request = MESSAGES["ModelInferRequest"](model_name="tiny")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
        tensor.contents.fp32_contents.extend(tiny.GOLDEN[0].tolist())
        for _ in range(32):
            options = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each channel
            async with grpc.aio.insecure_channel(address, options=options) as channel:
                infer = channel.unary_unary(
                    f"/{SERVICE}/ModelInfer",
                    request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=MESSAGES["ModelInferResponse"].FromString,
                )
                assert (await infer(request)).model_name == "tiny"
        counts = counts_of(server)
        assert sum(counts.values()) == 32
        assert min(counts.values()) > 0
    finally:
        server.close()


def test_every_worker_takes_requests_and_metrics_tell_of_each(served: ServeProcess) -> None:
    for _ in range(64):
        assert served.ask("/v2/models/tiny/infer", tiny_request())[0] == 200
    counts = counts_of(served)
    assert counts.keys() == {"1", "2"}
    assert min(counts.values()) > 0
    _, text = served.ask("/metrics")
    assert 'shoal_serve_worker_up{worker="2"} 1' in text


def test_a_worker_that_is_killed_is_started_again_while_the_other_answers(served: ServeProcess) -> None:
    before = served.worker_pids
    os.kill(before[0], signal.SIGKILL)
    served.wait_for(lambda: served.worker_pids[0] != before[0])
    assert served.worker_pids[1] == before[1]
    socket_path = json.loads(served.note.read_text())["socket"]
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket_path, verify=False), base_url=served.url) as client:
        assert client.post("/v2/models/tiny/infer", json=tiny_request()).status_code == 200
    assert all(served.ask("/v2/models/tiny/infer", tiny_request())[0] == 200 for _ in range(20))


class Asking:
    """Asks all the while in a thread, on one connection after the other, and keeps what it got."""

    def __init__(self, server: ServeProcess, model: str) -> None:
        self.got: list[tuple[int, str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(server, f"/v2/models/{model}/infer"))
        self._thread.start()

    def _ask(self, server: ServeProcess, path: str) -> None:
        while not self._over.is_set():
            status, body = server.ask(path, tiny_request())
            self.got.append((status, body["model_version"] if status == 200 else str(body)))

    def stop(self) -> list[tuple[int, str]]:
        self._over.set()
        self._thread.join()
        return self.got


def test_an_alias_that_moves_is_followed_without_a_failed_request(hub: HubProcess, tmp_path: Path) -> None:
    put_tiny(hub, 1, "moving")
    put_tiny(hub, 2, "moving")
    with hub.client() as client:
        client.models.set_alias("moving", "champion", 1)
        server = ServeProcess(hub, tmp_path, "--model=moving@champion", "--workers=2", "--look-s=0.2").start()
        try:
            asking = Asking(server, "moving")
            client.models.set_alias("moving", "champion", 2)
            server.wait_for(lambda: len(asking.got) > 20 and asking.got[-1][1] == "2")
            put_wrong(hub, 3, "moving")
            client.models.set_alias("moving", "champion", 3)
            server.wait_for(lambda: "golden output" in server.log())
            got = asking.stop()
            assert {status for status, _ in got} == {200}
            assert server.serves("moving") == 2
            client.models.set_alias("moving", "champion", 1)
            server.wait_for(lambda: server.serves("moving") == 1)
        finally:
            server.close()


def test_what_served_last_serves_while_the_hub_is_away(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "hub").start()
    try:
        put_tiny(hub, 1)
        server = ServeProcess(hub, tmp_path / "served", "--model=tiny@latest")
        server.start().stop()
        hub.close()
        try:
            assert server.start().serves("tiny") == 1
            assert "serving what served last: tiny version 1" in server.log()
        finally:
            server.close()
    finally:
        hub.close()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("unknown", "no model unknown"),
        ("tiny@9", "no version 9 of tiny"),
        ("sealed", "it leaves this hub for devices alone"),
        ("bare", "has no variant that a device could run"),
        ("wrong", "none has before"),
        ("no/name", "names no version"),
    ],
)
def test_what_can_not_be_served_is_told(hub: HubProcess, tmp_path: Path, model: str, said: str) -> None:
    if model == "sealed":
        put_tiny(hub, 1, model, is_encrypted=True)
    if model == "bare":
        put_version(hub, tiny.tiny_manifest(1, model), {})
    if model == "wrong":
        put_wrong(hub, 1, model)
    server = ServeProcess(hub, tmp_path, f"--model={model}")
    server.begin()
    assert server.process is not None
    assert server.process.wait(30) == 1
    assert said in server.log()
    assert "  do: " in server.log()


def test_a_damaged_file_comes_again(hub: HubProcess, tmp_path: Path) -> None:
    server = ServeProcess(hub, tmp_path, "--model=tiny@1").start()
    server.stop()
    [file] = [path for path in (tmp_path / "blobs").iterdir() if path.read_bytes()[:1] != b"{"]
    file.write_bytes(b"damaged")
    try:
        assert server.start().serves("tiny") == 1
    finally:
        server.close()
    assert json.loads((tmp_path / "serving.json").read_text())["tiny"]["version"] == 1


def test_workers_share_answers_in_redis_and_go_on_when_it_is_killed(hub: HubProcess, tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path).start()
    options = ("--model=tiny@1", "--workers=2", f"--cache-redis={redis.url}")
    server = ServeProcess(hub, tmp_path / "served", *options)
    server.environment["PYTHONPATH"] += "".join(os.pathsep + path for path in library())
    server.start()
    try:
        answers = [server.ask("/v2/models/tiny/infer", tiny_request()) for _ in range(40)]
        assert len({json.dumps(body["outputs"]) for _, body in answers}) == 1
        _, text = server.ask("/metrics")
        counts = [
            sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))
            for name in ("shoal_agent_cache_hits_total", "shoal_agent_cache_misses_total")
        ]
        assert counts[0] > 30, "one worker finds what another has answered"
        assert sum(counts) == 40
        assert redis.url not in server.log()
        redis.kill()
        assert {server.ask("/v2/models/tiny/infer", tiny_request())[0] for _ in range(20)} == {200}
        assert "models answer by themselves" in server.log()
    finally:
        server.close()
        redis.kill()


@pytest.mark.anyio
async def test_a_busy_device_passes_requests_to_the_server_of_its_site_and_a_device_of_no_site_may_not(
    hub: HubProcess, tmp_path: Path
) -> None:
    with hub.client() as client:
        names = ("kitchen", "garden")
        identities = [
            await to_thread.run_sync(enrol, tmp_path / name / "identity", hub.url, client.tokens.create().token, name)
            for name in names
        ]
        client.sites.create("lan", cache=identities[0].device_id, host="127.0.0.1")
        manifest = client.models.manifest("tiny", 1)
    served = replace(served_tiny(), manifest_sha256=sha256_hex(manifest))
    options = ("--model=tiny@1", "--workers=2", "--site=lan", "--handover-host=127.0.0.1", "--handover-port=0")
    server = ServeProcess(hub, tmp_path / "served", *options).start()
    try:
        sha256, _, address = json.loads(server.note.read_text())["handover"].partition("=")
        host, _, port = address.partition(":")
        peer = HandoverPeer(host=host, port=int(port), certificate_sha256=sha256)
        async with anyio.create_task_group() as group:
            for identity, expected in zip(identities, ("answered", "refused"), strict=True):
                async with device(group, identity, served) as here:
                    await here.follow(peer)
                    async with busy(here):
                        asking = asyncio.ensure_future(here.ask())
                        while not here.passed:  # noqa: ASYNC110 - nothing tells it
                            await anyio.sleep(0.01)
                        assert here.passed == {expected: 1}
                        here.engine.gate.set()
                        check(await asking)
            async with device(group, identities[0], served) as here:
                await here.follow(peer.model_copy(update={"certificate_sha256": "e" * 64}))
                async with busy(here):
                    asking = asyncio.ensure_future(here.ask())
                    while not here.passed:  # noqa: ASYNC110 - nothing tells it
                        await anyio.sleep(0.01)
                    assert here.passed == {"failed": 1}
                    here.engine.gate.set()
                    check(await asking)
            group.cancel_scope.cancel()
    finally:
        server.close()


def test_other_machines_ask_over_tls_and_with_a_key_that_every_worker_knows(hub: HubProcess, tmp_path: Path) -> None:
    pair = tmp_path / "pair.pem"
    pair.write_bytes(make_pair())
    tls = (f"--tls-certificate={pair}", f"--tls-key={pair}", "--remote-host=127.0.0.1", "--remote-port=0")
    server = ServeProcess(hub, tmp_path / "served", "--model=tiny@1", "--workers=2", *tls).start()
    try:
        url = json.loads(server.note.read_text())["remote"]
        key = ApiKeys(server.data / "api-keys.json").create("dashboard", datetime.now(UTC))
        context = ssl.create_default_context(cafile=str(pair))
        context.check_hostname = False

        def ask(headers: dict[str, str]) -> int:
            with httpx.Client(base_url=url, verify=context, trust_env=False) as client:
                return client.post("/v2/models/tiny/infer", json=tiny_request(), headers=headers).status_code

        assert {ask({"authorization": f"Bearer {key}"}) for _ in range(10)} == {200}
        assert {ask({}) for _ in range(10)} == {401}
        ApiKeys(server.data / "api-keys.json").revoke("dashboard")
        assert {ask({"authorization": f"Bearer {key}"}) for _ in range(10)} == {401}
    finally:
        server.close()
