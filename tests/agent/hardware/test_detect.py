"""Boards are recognised by what their kernels say, and get the targets that suit them, best first."""

import subprocess
import sys
from pathlib import Path

import pytest

from shoal_agent.hardware import (
    available_memory_bytes,
    available_runtimes,
    detect,
    fingerprint,
    has_gpu,
    targets_for,
)
from shoal_contract.reported import Hardware, Runtime

PI4 = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\n\nprocessor\t: 1\n\nprocessor\t: 2\n\nprocessor\t: 3\n\n"
    "Revision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    "proc/meminfo": "MemTotal:        3884372 kB\nMemFree:         2812320 kB\n",
}
ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "proc/cpuinfo": "".join(f"processor\t: {n}\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n\n" for n in range(6)),
    "proc/meminfo": "MemTotal:        7802884 kB\n",
}
LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 7B13\n\nprocessor\t: 1\nmodel name\t: AMD EPYC 7B13\n",
    "proc/meminfo": "MemTotal:        8000000 kB\n",
}


@pytest.fixture
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    for name, content in request.param.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


@pytest.mark.parametrize("root", [PI4], indirect=True)
def test_a_raspberry_pi_is_known_by_its_device_tree(root: Path) -> None:
    hardware = detect(root)
    assert (hardware.kind, hardware.model) == ("raspberry-pi", "Raspberry Pi 4 Model B Rev 1.4")
    assert (hardware.cores, hardware.memory_bytes, hardware.l4t) == (4, 3884372 * 1024, None)


@pytest.mark.parametrize("root", [{"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    2048 kB\n"}, PI4], indirect=True)
def test_what_programs_can_still_take_is_the_kernel_s_estimate_and_unknown_where_it_makes_none(root: Path) -> None:
    has_estimate = "MemAvailable" in (root / "proc/meminfo").read_text()
    assert available_memory_bytes(root) == (2048 * 1024 if has_estimate else None)


@pytest.mark.parametrize("root", [ORIN], indirect=True)
def test_a_jetson_is_known_with_its_l4t_release(root: Path) -> None:
    hardware = detect(root)
    assert (hardware.kind, hardware.l4t, hardware.cores) == ("jetson", "36.4.3", 6)
    assert hardware.model == "NVIDIA Jetson Orin Nano Developer Kit"


@pytest.mark.parametrize("root", [{"etc/nv_tegra_release": ORIN["etc/nv_tegra_release"]}], indirect=True)
def test_a_jetson_in_a_container_without_a_device_tree_is_still_a_jetson(root: Path) -> None:
    assert (detect(root).kind, detect(root).l4t) == ("jetson", "36.4.3")


@pytest.mark.parametrize("root", [LAPTOP], indirect=True)
def test_any_other_machine_is_generic_and_named_by_its_processor(root: Path) -> None:
    hardware = detect(root)
    assert (hardware.kind, hardware.model, hardware.cores) == ("generic", "AMD EPYC 7B13", 2)


@pytest.mark.parametrize("root", [{"proc/device-tree/model": "Radxa ROCK 5B\0"}], indirect=True)
def test_another_board_is_generic_and_keeps_its_name(root: Path) -> None:
    assert (detect(root).kind, detect(root).model) == ("generic", "Radxa ROCK 5B")


def test_an_empty_root_still_gives_a_description(tmp_path: Path) -> None:
    hardware = detect(tmp_path)
    assert hardware.kind == "generic"
    assert hardware.cores >= 1


@pytest.mark.parametrize("root", [{"proc/device-tree/model": "\x00\ufffd" * 400, "proc/meminfo": "?"}], indirect=True)
def test_nonsense_files_are_survived(root: Path) -> None:
    assert detect(root).memory_bytes == 0


def test_this_machine_is_described() -> None:
    assert detect().memory_bytes > 0


def _board(kind: str, model: str) -> Hardware:
    return Hardware.model_validate(
        {"kind": kind, "model": model, "architecture": "aarch64", "cores": 4, "memory_bytes": 1}
    )


@pytest.mark.parametrize(
    ("board", "runtimes", "expected"),
    [
        (
            _board("raspberry-pi", "Raspberry Pi 4 Model B Rev 1.4"),
            ("litert",),
            ("pi4-litert-int8", "generic-litert-int8", "pi4-litert-float32", "generic-litert-float32"),
        ),
        (_board("generic", "AMD EPYC"), ("onnxruntime",), ("generic-onnx-int8", "generic-onnx-float32")),
        (
            _board("generic", "AMD EPYC"),
            ("litert", "onnxruntime"),
            ("generic-litert-int8", "generic-onnx-int8", "generic-litert-float32", "generic-onnx-float32"),
        ),
        (
            _board("jetson", "NVIDIA Jetson AGX Orin Developer Kit"),
            ("onnxruntime",),
            (
                "jetson-orin-onnx-fp16",
                "jetson-orin-onnx-int8",
                "generic-onnx-int8",
                "jetson-orin-onnx-float32",
                "generic-onnx-float32",
            ),
        ),
        (_board("raspberry-pi", "Raspberry Pi 5"), (), ()),
    ],
)
def test_targets_come_best_first(board: Hardware, runtimes: tuple[Runtime, ...], expected: tuple[str, ...]) -> None:
    assert targets_for(board, runtimes) == expected


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ("Raspberry Pi Compute Module 4 Rev 1.0", "pi4-litert-int8"),
        ("Raspberry Pi 5 Model B Rev 1.0", "pi5-litert-int8"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "pizero2-litert-int8"),
        ("Raspberry Pi Model B Rev 2", "generic-litert-int8"),
    ],
)
def test_raspberry_pis_are_told_apart_by_generation(model: str, first: str) -> None:
    assert targets_for(_board("raspberry-pi", model), ("litert",))[0] == first


def test_runtimes_are_found_without_being_imported() -> None:
    code = (
        "import sys; from shoal_agent.hardware import available_runtimes; found = available_runtimes(); "
        "assert found == ('litert', 'onnxruntime'), found; "
        "assert not {'onnxruntime', 'ai_edge_litert', 'tensorflow'} & set(sys.modules), 'a runtime was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_missing_runtime_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.hardware.find_spec", lambda name: name == "tflite_runtime" or None)
    assert available_runtimes() == ("litert",)


@pytest.mark.parametrize(
    "root", [{"dev/nvidiactl": ""}, {"dev/nvhost-gpu": ""}, {"dev/nvgpu/igpu0/as": ""}], indirect=True
)
def test_a_gpu_is_seen_where_the_kernel_shows_one(root: Path) -> None:
    assert has_gpu(root)


@pytest.mark.parametrize("root", [ORIN], indirect=True)
def test_a_jetson_whose_container_has_no_gpu_has_none(root: Path) -> None:
    assert not has_gpu(root)


@pytest.mark.parametrize(
    "change",
    [{"model": "Raspberry Pi 5 Model B Rev 1.0"}, {"cores": 2}, {"architecture": "armv7l"}, {"l4t": "36.4.3"}],
)
def test_boards_are_told_apart_by_what_engines_are_built_and_measured_for(change: dict[str, object]) -> None:
    board = _board("raspberry-pi", "Raspberry Pi 4 Model B Rev 1.4")
    assert fingerprint(board) == fingerprint(board.model_copy(update={"memory_bytes": 2}))
    assert fingerprint(board) != fingerprint(board.model_copy(update=change))
