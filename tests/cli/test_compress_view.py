"""What a terminal shows of a choice: how its figures are known, and how far a predicted one may be off."""

from typing import Any

import pytest

from shoal_client.compression import CompressionChoice
from shoal_hub.cli import compress_view
from shoal_hub.cli.compress_view import draw_latencies
from shoal_hub.cli.output import console

MEASURES = {"size_bytes": 1000, "latency_p50_ms": 2.0}
CHOICE: dict[str, Any] = {
    "target_class": "pi4",
    "target": "pi4-onnx-int8",
    "chosen": "int8",
    "basis": "devices",
    "devices": {"Pi 4": 1},
    "candidates": [{"name": "int8", "measures": MEASURES}],
    "front": ["int8"],
    "left_out": {},
    "reason": "",
}
LATENCY = {"latency_ms": 2.0, "low_ms": 1.6, "high_ms": 2.5, "board": "Pi 4", "unknown": ["Magic float"]}
PREDICTED = {
    "basis": "predicted",
    "devices": {},
    "predicted": {"int8": LATENCY},
    "errors": {"Pi 4": {"median": 0.06, "worst": 0.25, "files": 9, "ratios": [0.8, 1.25]}},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ["measured on Pi 4"]),
        ({"basis": "here", "devices": {}}, ["measured on the hub's machine"]),
        (
            PREDICTED,
            [
                "latency predicted for Pi 4 by 9 files with a median error of 6%, at worst 25%",
                "2 (1.6 to 2.5)",
                "little is known of Magic float",
            ],
        ),
    ],
)
def test_a_choice_says_how_its_figures_are_known(
    changes: dict[str, Any], says: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 200)
    choice = CompressionChoice.model_validate(CHOICE | changes)
    compress_view._draw_choice(choice)
    shown = capsys.readouterr().out
    assert [one for one in says if one not in shown] == []
    draw_latencies("int8", [choice])
    draw_latencies("other", [choice])
    shown = capsys.readouterr().out
    assert says[0] in shown
    assert "Nothing is known of any target class yet." in shown
