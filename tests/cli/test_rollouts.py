"""What `shoal rollouts show` says of what travelled."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from shoal_client.rollouts import Deployment, RolloutDetail
from shoal_hub.cli.rollout_view import draw

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def deployment(fetched_bytes: int | None) -> Deployment:
    return Deployment(
        id="dp-1",
        device_id="d-abcdefgh234567ab",
        wave=0,
        target="pi4-onnx-int8",
        state="succeeded",
        step="",
        from_version=1,
        fetched_bytes=fetched_bytes,
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
        "deployments": [deployment(one) for one in fetched],
    }
    text = StringIO()
    Console(file=text, width=200).print(draw(RolloutDetail(**(fields | changes))))
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
    assert line in lines


def test_nothing_is_said_before_a_device_has_told_and_a_wait_is() -> None:
    assert "model files" not in drawn(None)
    assert "waits for its deltas" in drawn(None, is_waiting_for_deltas=True)
    assert "waits for its deltas" not in drawn(None)
