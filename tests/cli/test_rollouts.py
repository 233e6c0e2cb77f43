"""What `shoal rollouts` draws: waves, waiting, thresholds, and what travelled."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from shoal_client.rollouts import Deployment, RolloutDetail
from shoal_hub.cli.rollout_view import draw

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def deployment(fetched_bytes: int | None, number: int = 0) -> Deployment:
    return Deployment(
        id="dp-1",
        device_id=f"d-abcdefgh234567{number:02}",
        wave=0,
        target="pi4-onnx-int8",
        state="succeeded",
        step="",
        from_version=1,
        fetched_bytes=fetched_bytes,
        forecast_bytes=5000,
        whole_bytes=200_000,
        problem=None,
        assigned_at=NOON,
        ended_at=NOON,
    )


def drawn(*fetched: int | None, **changes: Any) -> str:
    told = [one for one in fetched if one is not None]
    fields: dict[str, Any] = {
        "id": "r-1",
        "model": "digits",
        "version": 2,
        "state": "running",
        "waves": [len(fetched)],
        "current_wave": 0,
        "max_failures": 0,
        "timeout_s": 600,
        "created_by": "ada",
        "created_at": NOON,
        "ended_at": None,
        "reason": "",
        "counts": {},
        "is_waiting_for_deltas": False,
        "fetched_bytes": sum(told),
        "whole_bytes": 200_000 * len(told),
        "forecast_bytes": 5000 * len(told),
        "forecast_total_bytes": 5000 * len(fetched),
        "deployments": [deployment(one, number) for number, one in enumerate(fetched)],
    }
    text = StringIO()
    Console(file=text, width=200).print(draw(RolloutDetail.model_validate(fields | changes), NOON))
    return text.getvalue()


@pytest.mark.parametrize(
    ("fetched", "line"),
    [
        ((3000, 1000), "fetched 4.0 kB of 400.0 kB of model files, 99% saved"),
        ((3000, None), "fetched 3.0 kB of 200.0 kB of model files, 98% saved"),
        ((200_000,), "fetched 200.0 kB of 200.0 kB of model files"),
        ((203_000,), "fetched 203.0 kB of 200.0 kB of model files"),  # a delta that was of no use, and the whole file
    ],
)
def test_what_travelled_stands_against_the_whole_files_of_the_devices_that_have_told(
    fetched: tuple[int | None, ...], line: str
) -> None:
    lines = [one.rstrip() for one in drawn(*fetched).splitlines()]
    told = sum(one is not None for one in fetched)
    forecast = f"{5 * told}.0 kB for these devices, {5 * len(fetched)}.0 kB for all"
    assert f"{line}; forecast: {forecast}" in lines
    said = next(one for one in lines if one.startswith("for each: "))
    assert "STATE succeeded, TARGET pi4-onnx-int8, FORECAST 5.0 kB" in said
    if len(set(fetched)) == 1:
        assert said.endswith(f"FETCHED {(fetched[0] or 0) / 1000:.1f} kB")
    else:
        table = next(at for at, one in enumerate(lines) if "FETCHED" in one and "DEVICE" in one)
        sizes = ["-" if one is None else f"{one / 1000:.1f} kB" for one in fetched]
        assert [" ".join(one.split()[2:-1]) for one in lines[table + 1 :]] == sizes


def test_nothing_is_said_before_a_device_has_told_and_a_wait_is() -> None:
    assert "model files" not in drawn(None)
    assert "waits for its deltas" in drawn(None, waits_for="deltas")
    assert "waits for its deltas" not in drawn(None)


def test_devices_on_their_way_back_are_said_also_of_a_rollout_that_was_aborted() -> None:
    assert "aborted, wave 1 of 1, 1 device on the way back  too many errors" in drawn(
        None, state="aborted", reason="too many errors", returning=1
    )
    assert "on the way back" not in drawn(None, state="aborted", reason="too many errors")


def test_waves_are_drawn_with_their_counts_and_those_held_back() -> None:
    text = drawn(
        None,
        waves=[1, 20],
        current_wave=1,
        counts={"succeeded": 1, "working": 2, "pending": 18, "held_back": 4},
        wave_counts=[{"succeeded": 1}, {"working": 2, "pending": 18}],
        in_flight=2,
    )
    lines = [line.split() for line in text.splitlines()]
    assert ["1", "1", "-", "succeeded=1"] in lines or ["1", "1", "succeeded=1"] in lines
    assert ["2", "20", "2", "at", "it", "pending=18,", "working=2"] in lines
    assert ["-", "4", "held", "back"] in lines


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"waits_for": "soak", "soaks_until": NOON + timedelta(seconds=3725)}, "watched for 1 h 2 min more"),
        ({"waits_for": "soak", "soaks_until": NOON + timedelta(seconds=65)}, "watched for 1 min 5 s more"),
        ({"waits_for": "approval"}, "waits for approval: shoal rollouts approve r-1"),
        ({"waits_for": "start"}, "waits for its start"),
    ],
)
def test_it_says_what_a_rollout_waits_for(changes: dict[str, Any], text: str) -> None:
    assert text in drawn(None, **changes)


def test_thresholds_are_drawn_with_how_far_they_are() -> None:
    measured = {"description": "abort at 5% failures", "failures": 1, "executed": 10}
    thresholds = [measured | {"is_crossed": False}, measured | {"failures": 3, "is_crossed": True}]
    lines = [line.rstrip() for line in drawn(None, thresholds=thresholds).splitlines()]
    assert "abort at 5% failures: 1 of 10 so far" in lines
    assert "abort at 5% failures: 3 of 10 so far, crossed" in lines
