"""A client that is newer than its hub reads what that says of plans and trials; what it does not say has a default."""

import io

from rich.console import Console

from shoal_client.rollouts import RolloutPreview
from shoal_client.trials import StartedTrial
from shoal_hub.cli.plan_view import draw_preview

DEVICE = {
    "device_id": "d-" + "a" * 16,
    "name": "kitchen",
    "wave": 0,
    "is_held_back": False,
    "target": "generic-onnx-int8",
    "from_version": 1,
    "sha256": "b" * 64,
    "transfer": "whole",
    "transfer_bytes": 40_000,
    "disk_bytes": 40_000,
    "latency_p50_ms": 1.5,
    "latency_p95_ms": 2.0,
    "memory_bytes": None,
    "opens_at": None,
    "problem": None,
}
PREVIEW = {
    "model": "digits",
    "version": 2,
    "seed": 7,
    "waves": [1],
    "held_back": 0,
    "misfits": 0,
    "not_reported": 0,
    "transfer_bytes": 40_000,
    "whole_bytes": 40_000,
    "variants": [],
    "devices": [DEVICE],
}
TRIAL = {
    "id": "t-1",
    "model": "digits",
    "version": 2,
    "against": 1,
    "mode": "shadow",
    "split": "device",
    "share": 1.0,
    "stop_after_samples": None,
    "stop_on_harm": False,
    "state": "running",
    "reason": "",
    "created_by": "ada",
    "created_at": "2026-11-28T12:00:00Z",
    "ends_at": "2026-11-29T12:00:00Z",
    "ended_at": None,
    "devices": [],
    "arms": [],
    "effects": [],
    "shadow": None,
    "examples": [],
}


def test_a_plan_of_a_hub_that_predicts_neither_uplinks_nor_budgets_is_read_and_drawn() -> None:
    preview = RolloutPreview.model_validate(PREVIEW)
    [one] = preview.devices
    assert (one.uplink_bytes, one.is_held_by_budget, one.measured_on, one.warning) == (None, False, "compression", None)
    assert (preview.uplink_bytes, preview.warnings, preview.held_by_budget) == (None, 0, 0)
    drawn = io.StringIO()
    Console(file=drawn, width=200).print(draw_preview(preview))
    assert "whole" in drawn.getvalue()
    assert "on the air" not in drawn.getvalue()


def test_a_trial_of_a_hub_that_knows_no_deltas_for_candidates_is_read() -> None:
    trial = StartedTrial.model_validate(TRIAL)
    assert (trial.is_waiting_for_deltas, trial.misfits) == (False, [])
