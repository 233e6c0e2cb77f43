"""What a person sees who watches a rollout: all that counts on one screen, however many devices there are."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from tests.cli.test_rollouts import NOON, deployment

from shoal_client.rollouts import RolloutDetail
from shoal_hub.cli.rollout_view import Watched, draw_briefly

PROBLEM = {"code": "load", "message": "loading the variant: " + "it does not fit " * 20, "remedy": "make it smaller"}
COUNTS = {"failed": 1, "working": 9, "succeeded": 90}


def rollout(**changes: Any) -> RolloutDetail:
    """A rollout of a hundred devices, as the hub tells of it in the order of concern."""
    states = [state for state, count in COUNTS.items() for _ in range(count)]
    devices = [
        deployment(1000).model_copy(update={"device_name": f"lamp-{number}", "state": state, "wave": 1})
        for number, state in enumerate(states)
    ]
    failed = devices[0].model_dump() | {"problem": PROBLEM}
    fields: dict[str, Any] = {
        "id": "r-1",
        "model": "digits",
        "version": 2,
        "state": "running",
        "waves": [10, 90],
        "current_wave": 1,
        "max_failures": 0,
        "timeout_s": 600,
        "created_by": "ada",
        "created_at": NOON,
        "ended_at": None,
        "reason": "",
        "counts": COUNTS,
        "wave_counts": [{"succeeded": 10}, COUNTS | {"succeeded": 80}],
        "in_flight": 9,
        "thresholds": [{"description": "abort at 5% failures", "failures": 1, "executed": 91, "is_crossed": False}],
        "is_waiting_for_deltas": False,
        "fetched_bytes": 100_000,
        "whole_bytes": 20_000_000,
        "deployments": [failed, *devices[1:]],
    }
    return RolloutDetail.model_validate(fields | changes)


def seen(what: Any, height: int = 20, width: int = 100) -> list[str]:
    text = StringIO()
    Console(file=text, width=width, height=height, force_terminal=True, color_system=None).print(what)
    return [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.parametrize("height", [14, 24, 60])
def test_a_screen_holds_the_waves_the_bounds_and_the_bytes_and_as_many_devices_as_it_has_lines_for(
    height: int,
) -> None:
    lines = seen(Watched(rollout()), height)
    assert len(lines) == height - 1, "with the cursor's line it is full"
    for part in ("wave 2 of 2", "failed=1, succeeded=80, working=9", "abort at 5% failures: 1 of 91", "99% saved"):
        assert any(part in line for line in lines), part
    shown = sum("lamp-" in line for line in lines)
    assert f"and {100 - shown} devices more: shoal rollouts show r-1" in lines
    assert any("lamp-0" in line and "failed" in line for line in lines)


def test_a_device_takes_one_line_and_its_problem_gives_way_to_the_rest() -> None:
    (line,) = [line for line in seen(Watched(rollout()), width=80) if "lamp-0" in line]
    assert "pi4-onnx-int8" in line
    assert "1.0 kB" in line
    assert line.endswith("…")


def test_a_screen_that_is_too_low_for_any_device_still_has_the_head() -> None:
    lines = seen(Watched(rollout()), height=5)
    assert any("99% saved" in line for line in lines)
    assert lines[-1] == "and 100 devices more: shoal rollouts show r-1"


def test_at_the_end_those_are_shown_that_have_failed_with_their_problem_as_a_whole() -> None:
    counts = {"failed": 1, "succeeded": 99}
    ended = rollout(state="succeeded", counts=counts)
    ended = ended.model_copy(update={"deployments": [one for one in ended.deployments if one.state != "working"]})
    text = " ".join(seen(draw_briefly(ended)))
    assert "make it" in text
    assert "lamp-0" in text
    assert "lamp-50" not in text
    assert "and 99 devices more" in text
