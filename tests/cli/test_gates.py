"""A gate on the command line."""

from datetime import datetime, timezone
from typing import Any

import pytest
import typer
from rich.console import Console

from shoal_client.rollouts import Gate
from shoal_hub.cli.gates import draw_gates, parse_gate


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("error_rate", {"name": "error_rate"}),
        ("error_rate:0.02", {"name": "error_rate", "margin": 0.02}),
        ("memory:100:tolerance=20:weight=0.5", {"name": "memory", "margin": 100, "tolerance": 20, "weight": 0.5}),
    ],
)
def test_a_gate_is_read(text: str, metric: dict[str, Any]) -> None:
    assert parse_gate(text) == metric


@pytest.mark.parametrize("text", ["error_rate:much", "error_rate:size=3", "error_rate:margin=", "error_rate:0.1:x"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no gate like"):
        parse_gate(text)


def gate(**changes: Any) -> Gate:
    side = {"devices": 12, "samples": 4800, "value": 0.05, "before": 0.05}
    metric = {
        "name": "error_rate",
        "unit": "of requests",
        "verdict": "advance",
        "reason": "harm as large as the margin is ruled out",
        "limit": None,
        "margin": 0.02,
        "tolerance": 0.0,
        "worse": "higher",
        "effect": 0.001,
        "lower": -0.004,
        "upper": 0.006,
        "alpha": 0.025,
        "canary": side,
        "control": side,
    }
    fields = {
        "wave": 0,
        "at": datetime(2026, 11, 1, tzinfo=timezone.utc),
        "verdict": "advance",
        "tested": "advance",
        "reason": "error_rate: fine",
        "alpha_spent": 0.025,
        "metrics": [metric | changes.pop("metric", {})],
    }
    return Gate.model_validate(fields | changes)


def drawn(*gates: Gate, width: int = 200) -> str:
    console = Console(width=width, record=True)
    for one in draw_gates(list(gates)):
        console.print(one)
    return console.export_text()


def test_the_last_look_is_shown_with_its_numbers_and_earlier_ones_in_a_line() -> None:
    text = drawn(gate(), gate(wave=1, verdict="hold", tested="hold", reason="too early"))
    assert "gate of wave 1: advance, alpha spent 0.025" in text
    assert "gate of wave 2: hold" in text
    assert "0.05 (12 devices, 4800)" in text
    assert "-0.004 to 0.006" in text


def test_what_was_not_tested_is_said() -> None:
    nothing = {"verdict": "not_tested", "effect": None, "lower": None, "upper": None}
    limit = {"limit": {"verdict": "advance", "reason": "within"}}
    text = drawn(gate(tested="not_tested", metric=nothing | limit))
    assert "advance (not tested)" in text
    assert "not tested; limit: advance" in text


def test_a_narrow_terminal_has_the_numbers_of_a_metric_in_one_line_without_units_and_samples() -> None:
    lines = drawn(gate(metric={"name": "slow_requests"}), width=80).splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["METRIC", "VERDICT", "CANARIES", "CONTROLS", "EFFECT", "INTERVAL", "MARGIN"],
        ["slow_requests", "advance", "0.05", "(12)", "0.05", "(12)", "0.001", "-0.004", "to", "0.006", "0.02"],
    ]
