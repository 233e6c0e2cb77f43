"""What an agent without work does not hold in memory: numpy, and the modules of what nobody asks of it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import hub_stand_in
from tests.simulators.tiny_model import TinyVersion

from shoal_agent.late_numpy import numpy_later

TOLD = "numpy was loaded by"
WATCH = f"""
import sys, traceback

def tell(event, details):
    if event == "import" and details[0].partition(".")[0] == "numpy":
        frames = [frame for frame in traceback.extract_stack() if "shoal_" in frame.filename]
        print({TOLD!r}, " <- ".join(f"{{one.filename}}:{{one.lineno}}" for one in reversed(frames)), file=sys.stderr)

sys.addaudithook(tell)
"""

IDLE = (
    "numpy",
    "shoal_agent.batch.job",
    "shoal_agent.features.running",
    "shoal_numerics.delta",
    "tuf.ngclient._internal.proxy",
    "shoal_numerics.compressed",
)


def ran(script: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_an_agent_loads_numpy_with_its_first_model_and_not_before(tmp_path: Path) -> None:
    watch = tmp_path / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    with hub_stand_in(tmp_path / "hub") as hub:
        agent = AgentProcess(tmp_path / "device", "--runtime", "onnxruntime", "--capture")
        agent.environment["PYTHONPATH"] = os.pathsep.join([str(watch), *sys.path])
        hub.enrol(agent.data / "identity")
        try:
            agent.start()
            hub.want({})
            hub.wait_for_section("config", "applied", "")
            assert agent.ask("/v2/models/tiny/infer", {"inputs": []})[0] in {404, 503}
            large = {"name": "x", "datatype": "FP32", "shape": [100_000], "data": [0.25] * 100_000}  # in several pieces
            assert agent.ask("/v2/models/tiny/infer", {"inputs": [large]})[0] in {404, 503}
            loaded = [line for line in agent.log().splitlines() if TOLD in line]
            assert not loaded, loaded[0]

            version = TinyVersion(1)
            hub.publish_artifact(version.file)
            hub.publish_manifest(version.manifest())
            hub.want({version.model: version.wanted("dp-1")})
            hub.wait_for_section("models/tiny", "applied", "dp-1")
            assert TOLD in agent.log()
        finally:
            agent.close()


def test_many_threads_may_need_it_first() -> None:
    script = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import ModuleType

from shoal_agent.late_numpy import numpy_later

with numpy_later():
    from shoal_numerics import edges
assert "numpy" not in sys.modules
together = Barrier(16)

def first(_):
    together.wait()
    return edges.HistogramEdges.from_lists([[0.0, 1.0]]).feature_count

sys.setswitchinterval(1e-6)
with ThreadPoolExecutor(16) as pool:
    print(sum(pool.map(first, range(16))), type(edges.np) is ModuleType, edges.np.array is sys.modules["numpy"].array)
"""
    assert ran(script) == "16 True True\n"


def test_its_late_submodules_are_found() -> None:
    script = """
from shoal_agent.late_numpy import numpy_later

with numpy_later():
    import numpy as np
print(np.random.default_rng(0).integers(1), np.linalg.norm([3.0, 4.0]), np.__name__)
"""
    assert ran(script) == "0 5.0 numpy\n"


def test_a_module_that_needs_it_while_it_is_imported_is_named() -> None:
    script = """
from shoal_agent.late_numpy import numpy_later

with numpy_later():
    import numpy as np
    try:
        np.zeros(1)
    except AttributeError as error:
        print(error)
"""
    assert "numpy.zeros is asked for while the agent is imported" in ran(script)


def test_where_it_is_loaded_already_nothing_changes() -> None:
    with numpy_later():
        assert sys.modules["numpy"] is np
    assert sys.modules["numpy"] is np


def test_what_nobody_asks_of_an_agent_is_not_imported() -> None:
    script = f"""
import sys

from shoal_agent.late_numpy import numpy_later

with numpy_later():
    import shoal_agent.daemon
import shoal_agent.tuf.refresher, shoal_agent.tuf.client
print(sorted(set(sys.modules) & set({IDLE!r})))
"""
    assert ran(script) == "[]\n"


def test_who_asks_python_tuf_for_its_own_fetcher_has_it() -> None:
    script = """
import shoal_agent.tuf.client
import tuf.ngclient
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

print(type(tuf.ngclient.Urllib3Fetcher()) is Urllib3Fetcher)
"""
    assert ran(script) == "True\n"
