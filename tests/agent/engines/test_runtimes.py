"""A version runs on the best that works here, and what was found out once is not found out again."""

import json
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_agent.engines import Engine, EngineError, EngineSetup, Machine, Runtimes, run_golden
from shoal_agent.engines.remembered import RememberedSetups
from shoal_agent.engines.runtime_check import Ended
from shoal_agent.engines.runtimes import warmup_file
from shoal_agent.settings import EngineSettings
from shoal_contract.encryption import encrypted_size
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Hardware

HARDWARE = Hardware(
    kind="jetson", model="NVIDIA Jetson Orin Nano", architecture="aarch64", cores=2, memory_bytes=6_000_000_000
)
GPU_BUILD = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
Asked = list[tuple[str, dict[str, str]]]


class Gpu:
    """Stands for ONNX Runtime's sessions on a board with a GPU: the CPU runs what the providers are asked for.

    Args:
        fails: What each provider does: `raises` as it loads, is `absent` from the session, or answers `wrong`.
    """

    def __init__(self, **fails: str) -> None:
        self.fails = fails
        self.asked: list[Asked] = []

    def __call__(self, path: str, options: Any, *, providers: Asked, enable_fallback: int) -> Any:
        import onnxruntime as ort

        assert enable_fallback == 0
        self.asked.append(providers)
        first = providers[0][0]
        how = self.fails.get(first.removesuffix("ExecutionProvider").lower(), "")
        if how == "raises":
            raise RuntimeError("libnvinfer.so.10: cannot open shared object file")
        names = [name for name, _ in providers if how != "absent" or name != first]
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return _Session(session, names, 1.0 if how == "wrong" else 0.0)

    @property
    def tried(self) -> list[str]:
        return [asked[0][0].removesuffix("ExecutionProvider") for asked in self.asked]


class _Session:
    def __init__(self, session: Any, names: list[str], error: float) -> None:
        self._session = session
        self._error = error
        self.get_providers = lambda: names
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: list[str], inputs: dict[str, Any], _options: Any) -> list[Any]:
        return [answer + np.float32(self._error) for answer in self._session.run(names, inputs)]


def works(_module: str, _timeout_s: float) -> Ended:
    return Ended(0)


def make(data: Path, settings: EngineSettings | None = None, gpu: Gpu | None = None, **changes: Any) -> Runtimes:
    fields = {"has_gpu": gpu is not None, "try_runtime": works, "make_session": gpu}
    if gpu is not None:
        fields["providers"] = lambda: GPU_BUILD
    return Runtimes(settings or EngineSettings(), data, Machine(HARDWARE, **(fields | changes)))


def load(runtimes: Runtimes, variant: Variant | None = None, manifest: VersionManifest | None = None) -> EngineSetup:
    """Load a version, see that it answers, and return how it runs."""
    variant, manifest = variant or tiny.onnx_variant(), manifest or tiny.tiny_manifest()
    engine: Engine = runtimes.load(tiny.path_of(variant), manifest, variant)
    assert run_golden(engine, manifest, variant) < 1e-5
    engine.close()
    return engine.setup


def test_a_gpu_is_used_by_tensorrt_first(tmp_path: Path) -> None:
    gpu = Gpu()
    setup = load(make(tmp_path, gpu=gpu))
    assert (setup.accelerator, setup.passed_over, gpu.tried) == ("tensorrt", (), ["Tensorrt"])
    assert [name for name, _ in gpu.asked[0]] == list(GPU_BUILD), "CUDA and the CPU take what TensorRT does not"


@pytest.mark.parametrize("how", ["raises", "absent", "wrong"])
def test_a_provider_that_fails_is_passed_over_and_that_is_told(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = Gpu(tensorrt=how)
    setup = load(make(tmp_path, gpu=gpu))
    assert (setup.accelerator, gpu.tried) == ("cuda", ["Tensorrt", "CUDA"])
    reason = {"raises": "libnvinfer", "absent": "did not load", "wrong": "differs by 1 from the golden output"}[how]
    assert reason in setup.passed_over[0]
    assert reason in caplog.text
    assert "not tensorrt: " in setup.said()


def test_the_cpu_serves_where_nothing_else_works(tmp_path: Path) -> None:
    setup = load(make(tmp_path, gpu=Gpu(tensorrt="wrong", cuda="raises")))
    assert setup.accelerator == "cpu"
    assert [one.partition(":")[0] for one in setup.passed_over] == ["tensorrt", "cuda"]


def test_a_forced_provider_has_no_fall_back(tmp_path: Path) -> None:
    runtimes = make(tmp_path, EngineSettings(providers=("cuda",)), Gpu(cuda="raises"))
    with pytest.raises(EngineError, match="libnvinfer"):
        load(runtimes)


def test_settings_that_leave_out_everything_say_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="leave out all execution providers") as caught:
        load(make(tmp_path, EngineSettings(without_providers=("cpu",))))
    assert "--without-provider" in caught.value.remedy


def test_a_file_that_no_provider_runs_is_the_file_s_fault(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny.path_of(tiny.onnx_variant()).read_bytes()[:-40])
    with pytest.raises(EngineError):
        make(tmp_path, gpu=Gpu()).load(path, tiny.tiny_manifest(), tiny.onnx_variant())


def test_what_a_model_takes_of_a_gpu_is_bounded(tmp_path: Path) -> None:
    gpu = Gpu()
    settings = EngineSettings(gpu_workspace_bytes=64_000_000)
    load(make(tmp_path, settings, gpu))
    tensorrt, cuda, cpu = (options for _, options in gpu.asked[0])
    assert cuda["arena_extend_strategy"] == "kSameAsRequested"
    assert cuda["gpu_mem_limit"] == str(HARDWARE.memory_bytes // 3)
    assert tensorrt["trt_max_workspace_size"] == "64000000"
    assert (tensorrt["trt_fp16_enable"], tensorrt["trt_int8_enable"], cpu) == ("0", "0", {})
    load(make(tmp_path, EngineSettings(gpu_memory_bytes=1000), gpu), tiny.onnx_variant(precision="fp16"))
    assert gpu.asked[-1][1][1]["gpu_mem_limit"] == "1000"
    assert gpu.asked[-1][0][1]["trt_fp16_enable"] == "1"


def test_tensorrt_s_engines_are_kept_by_the_model_s_hash(tmp_path: Path) -> None:
    gpu = Gpu()
    load(make(tmp_path, gpu=gpu))
    options = gpu.asked[0][0][1]
    folder = Path(options["trt_engine_cache_path"])
    assert (options["trt_engine_cache_enable"], options["trt_timing_cache_path"]) == ("1", str(folder))
    assert folder.is_relative_to(tmp_path / "engine-cache")
    assert (folder.name, folder.is_dir()) == (tiny.onnx_variant().sha256, True)


def test_engines_of_another_board_or_runtime_go_when_a_version_is_loaded(tmp_path: Path) -> None:
    stale = tmp_path / "engine-cache" / "another" / ("a" * 64)
    stale.mkdir(parents=True)
    load(make(tmp_path, gpu=Gpu()))
    assert not stale.parent.exists()


def test_an_encrypted_model_leaves_no_engine_on_the_disk(tmp_path: Path) -> None:
    gpu = Gpu()
    plain = tiny.onnx_variant()
    sealed = {"sha256": "e" * 64, "size_bytes": encrypted_size(plain.size_bytes)}
    load(make(tmp_path, gpu=gpu), tiny.onnx_variant(encrypted=sealed))
    assert "trt_engine_cache_path" not in gpu.asked[0][0][1]
    assert not (tmp_path / "engine-cache").exists()


def test_a_start_tries_what_was_chosen_and_nothing_else(tmp_path: Path) -> None:
    first, later = Gpu(tensorrt="raises"), Gpu(tensorrt="raises")
    setup = load(make(tmp_path, gpu=first))
    assert load(make(tmp_path, gpu=later)) == setup
    assert later.tried == ["CUDA"]


@pytest.mark.parametrize(
    "other", [{"settings": EngineSettings(warmup_s=0.5)}, {"hardware": HARDWARE.model_copy(update={"l4t": "36.5.0"})}]
)
def test_other_settings_and_other_hardware_choose_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    load(make(tmp_path, gpu=Gpu(tensorrt="raises")))
    gpu = Gpu()
    machine = Machine(
        other.get("hardware", HARDWARE), has_gpu=True, providers=lambda: GPU_BUILD, make_session=gpu, try_runtime=works
    )
    assert load(Runtimes(other.get("settings", EngineSettings()), tmp_path, machine)).accelerator == "tensorrt"


def test_what_was_chosen_and_works_no_longer_is_chosen_anew(tmp_path: Path) -> None:
    load(make(tmp_path, gpu=Gpu()))
    setup = load(make(tmp_path, gpu=Gpu(tensorrt="wrong")))
    assert (setup.accelerator, len(setup.passed_over)) == ("cuda", 1)
    assert load(make(tmp_path, gpu=Gpu())).accelerator == "cuda"


@pytest.mark.parametrize("make_variant", [tiny.onnx_variant, tiny.litert_variant])
def test_a_warm_up_is_measured_once(tmp_path: Path, make_variant: Callable[[], Variant]) -> None:
    variant = make_variant()
    setup = load(make(tmp_path), variant)
    assert setup.run_ms > 0
    assert setup.threads in {1, 2}
    assert RememberedSetups(warmup_file(tmp_path)).of(variant.sha256) == setup
    assert load(make(tmp_path), variant) == setup, "the very same time: nothing was measured"


def test_what_is_installed_is_read_once_whatever_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()

    def reading(name: str) -> str:
        read.append(name)
        return version(name)

    monkeypatch.setattr("shoal_agent.engines.runtime_check.version", reading)
    runtimes = make(tmp_path)
    load(runtimes)
    first = len(read)
    assert "onnxruntime" in read
    assert load(runtimes).version == version("onnxruntime")
    assert len(read) == first


def test_a_delegate_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    setup = load(make(tmp_path, EngineSettings(delegates=("libno-such-delegate.so",))), tiny.litert_variant())
    assert setup.accelerator == "cpu"
    assert "libno-such-delegate.so: loading" in setup.passed_over[0]


def test_a_delegate_that_works_is_used_by_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import interpreter

    made, real = [], interpreter.Interpreter

    def make_interpreter(*, model_path: str, num_threads: int, experimental_delegates: list[str] | None) -> Any:
        made.append((num_threads, experimental_delegates))
        return real(model_path=model_path, num_threads=num_threads)

    monkeypatch.setattr("shoal_agent.engines.litert_engine._load_delegate", lambda _path, _runtime, name: f"<{name}>")
    monkeypatch.setattr(interpreter, "Interpreter", make_interpreter)
    setup = load(make(tmp_path, EngineSettings(delegates=("libedgetpu.so.1",))), tiny.litert_variant())
    assert setup.accelerator == "libedgetpu.so.1"
    assert made == [(1, ["<libedgetpu.so.1>"])]


def test_a_runtime_that_dies_here_is_not_used_and_the_error_says_why(tmp_path: Path) -> None:
    tried = []

    def dies(module: str, _timeout_s: float) -> Ended:
        tried.append(module)
        return Ended(-signal.SIGILL if module == "onnxruntime" else 0)

    runtimes = make(tmp_path, try_runtime=dies)
    assert runtimes.usable() == ("litert",)
    with pytest.raises(EngineError, match=r"onnxruntime \d.* ended with SIGILL") as caught:
        load(runtimes)
    assert "another build" in caught.value.remedy
    assert load(runtimes, tiny.litert_variant()).module == "ai_edge_litert"
    assert make(tmp_path, try_runtime=dies).usable() == ("litert",)
    assert tried.count("onnxruntime") == 1, "what has ended a child once is not tried at each start"
    kept = json.loads((tmp_path / "run" / "runtimes.json").read_text())
    assert "SIGILL" in kept["onnxruntime"]["problem"]


def test_a_setting_is_said_as_a_person_reads_it() -> None:
    assert EngineSetup("onnxruntime", "1.28.0").said() == "onnxruntime 1.28.0 on cpu, 1 thread"
    setup = EngineSetup("onnxruntime", "1.28.0", "cpu", 2, has_arena=True, run_ms=1.234, passed_over=("cuda: no",))
    assert setup.said() == "onnxruntime 1.28.0 on cpu, 2 threads, with an arena, 1.23 ms a run; not cuda: no"
