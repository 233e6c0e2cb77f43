"""What `shoal rollouts plan` draws: what differs between devices, what is the same for all, who is refused."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich.console import Console

from shoal_client.rollouts import RolloutPreview
from shoal_hub.cli.plan_view import draw_preview

TERMINAL, WIDE = 80, 400
FIGURES = dict.fromkeys(("accuracy", "latency_p50_ms", "latency_p95_ms", "memory_bytes"))
PLANNED: dict[str, Any] = {
    "device_id": "d-abcdefgh234567ab",
    "name": "garden",
    "wave": 0,
    "is_held_back": False,
    "target": "pi4-onnx-int8",
    "from_version": 1,
    "sha256": "0123456789abcdef" * 4,
    "transfer": "delta",
    "transfer_bytes": 4000,
    "uplink_bytes": 4400,
    "budget_left_bytes": None,
    "is_held_by_budget": False,
    "held_until": None,
    "disk_bytes": 200_000,
    "latency_p50_ms": None,
    "memory_bytes": None,
    "measured_on": "nothing",
    "measured_devices": 0,
    "memory_available_bytes": None,
    "opens_at": None,
    "warning": None,
    "problem": None,
}
HELD = {"is_held_by_budget": True, "held_until": datetime(2026, 2, 1, tzinfo=UTC), "transfer": "https"}
REFUSED = {"problem": {"code": "no_variant", "message": "it runs esp32", "remedy": "compress again"}, "target": ""}
WARNED = {"warning": {"code": "no_memory", "message": "it has 9 MB", "remedy": "stop something"}}


def drawn(devices: list[dict[str, Any]], width: int, **changes: Any) -> str:
    fields = {
        "model": "digits",
        "version": 2,
        "seed": 7,
        "waves": [1, 60],
        "held_back": 0,
        "misfits": 0,
        "not_reported": 0,
        "warnings": 0,
        "held_by_budget": 0,
        "transfer_bytes": 4000,
        "whole_bytes": 400_000,
        "uplink_bytes": 4400,
        "variants": [{"target": "pi4-onnx-int8", "devices": 60, "file_bytes": 200_000} | FIGURES],
        "devices": devices,
    }
    text = StringIO()
    Console(file=text, width=width).print(draw_preview(RolloutPreview.model_validate(fields | changes)))
    return text.getvalue()


def test_a_plan_is_drawn_with_what_was_not_measured_and_who_is_refused() -> None:
    measured = {"measured_on": "same_hardware", "measured_devices": 12, "latency_p50_ms": 3.14159, "memory_bytes": 5e7}
    others = [PLANNED | HELD | measured, PLANNED | HELD | {"held_until": None}, PLANNED | WARNED]
    devices = [PLANNED, PLANNED | REFUSED, *others, *[PLANNED] * 56]
    text = drawn(devices, WIDE, misfits=1, warnings=1, held_by_budget=2)
    assert "not measured: ACCURACY, P50 ms, P95 ms, MEMORY" in text
    for part in ("1 device would be refused", "it runs esp32; compress again", "4.0 kB delta"):
        assert part in text
    assert "and 10 devices more: --json has all" in text
    assert "on the air: 4.4 kB for 4.0 kB of files, 396.0 kB saved by deltas" in text
    assert "1 device may lack the memory" in text
    assert "2 devices would wait for the byte budget of a month" in text
    for part in ("until 2026-02-01", "no month has room", "whole over HTTPS", "3.14", "50.00 MB", "12 like it", "9 MB"):
        assert part in text


def test_what_is_the_same_for_all_is_said_once_and_what_differs_has_a_column() -> None:
    devices = [PLANNED, PLANNED | {"name": "kitchen", "wave": 1, "from_version": None, "transfer": "broker"}]
    lines = drawn(devices, TERMINAL).splitlines()
    said = " ".join(lines)
    assert "for each: TARGET pi4-onnx-int8, UPLINK 4.4 kB, DISK 200.0 kB" in said
    table = next(at for at, line in enumerate(lines) if line.startswith("WAVE"))
    assert lines[table].split() == ["WAVE", "DEVICE", "FROM", "TRAVELS"]
    assert [line.split() for line in lines[table + 1 : table + 3]] == [
        ["1", "garden", "1", "4.0", "kB", "delta"],
        ["2", "kitchen", "-", "4.0", "kB", "whole"],
    ]


def test_a_device_has_one_line_however_narrow_the_terminal() -> None:
    devices = [PLANNED | {"name": f"a-device-of-site-{number:04}", "disk_bytes": number} for number in range(5)]
    lines = drawn(devices, 30).splitlines()
    table = next(at for at, line in enumerate(lines) if "DEVICE  " in line and "SIZE" not in line)
    assert [line.split()[0] for line in lines[table + 1 : table + 6]] == ["1"] * 5


def test_controls_and_refused_devices_are_not_among_those_that_are_told() -> None:
    control = PLANNED | {"name": "control", "wave": None, "is_held_back": True}
    text = drawn([PLANNED, control, PLANNED | REFUSED | {"name": "tiny"}], TERMINAL, held_back=1, misfits=1)
    assert "held back to compare with: control" in text
    assert [line.split()[:2] for line in text.splitlines() if "garden" in line] == [["1", "garden"]]
    assert [line.split()[:4] for line in text.splitlines() if "tiny" in line] == [["tiny", "it", "runs", "esp32;"]]
