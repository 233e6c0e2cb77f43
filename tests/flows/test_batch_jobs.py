"""A batch job handed out to two real devices: one sends its answers, the other is killed amid it and keeps them."""

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.flows.test_site_cache import with_options

from shoal_client.batches import BatchDevice

WAIT_S = 60.0
ROWS = 3000


@pytest.mark.slow
def test_two_devices_answer_their_files_when_idle_and_one_goes_on_after_a_kill(fleet: Fleet, tmp_path: Path) -> None:
    number = fleet.add_version(tmp_path / "one", seed=0)
    fleet.watch(fleet.client.rollouts.start(MODEL, str(number)).id, "succeeded")
    kitchen, garden = fleet.agents
    for agent in (kitchen, garden):
        write_rows(agent.data / "inputs" / "march.jsonl")
    write_rows(tmp_path / "secret" / "rows.jsonl")
    with with_options(kitchen, "--send-batch-results") as open_hand, with_options(garden) as closed_hand:
        ids = [open_hand.device_id, closed_hand.device_id]
        create(fleet, "march", ids, input="march*.jsonl", keep=["id"], max_result_bytes=10_000_000)
        wait_for((closed_hand.data / "batches" / "march" / "inputs.json").exists, bool)
        closed_hand.kill()
        closed_hand.start()
        wait_for(lambda: devices(fleet, "march"), lambda seen: {one.outcome for one in seen.values()} == {"done"})
        wait_for(lambda: devices(fleet, "march")[ids[0]], lambda one: one.is_stored)

        sent, kept = (devices(fleet, "march")[one] for one in ids)
        assert (sent.answered, sent.rejected, sent.version) == (ROWS, 0, number)
        assert (kept.answered, kept.is_stored, kept.result_bytes > 0) == (ROWS, False, True)
        answers = [json.loads(line) for line in fleet.client.batches.fetch("march", ids[0]).splitlines()]
        assert [one["id"] for one in answers] == list(range(ROWS))
        own = (closed_hand.data / "batches" / "march" / "answers.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in own] == list(range(ROWS)), "no row is lost or answered twice"

        create(fleet, "april", ids[:1], input=f"{tmp_path}/secret/*.jsonl")
        problem = wait_for(lambda: devices(fleet, "april")[ids[0]], lambda one: one.outcome == "failed").problem
        assert problem is not None
        assert "--batch-folder" in problem.remedy

        create(fleet, "may", ids[:1], input="march.jsonl", windows=[elsewhen()])
        section = "batches/may"
        wait_for(lambda: fleet.client.devices.show(ids[0]), lambda seen: section in seen.sections)
        assert fleet.client.batches.cancel("may").counts == {"cancelled": 1}
        wait_for(lambda: fleet.client.devices.show(ids[0]), lambda seen: section not in seen.sections)


def create(fleet: Fleet, name: str, devices: list[str], **changes: Any) -> None:
    deadline = datetime.now(timezone.utc) + timedelta(hours=1)
    body = {"model": MODEL, "deadline_at": deadline.isoformat(), "max_load": 0.5} | changes
    fleet.client.batches.create(name, body, devices=devices)


def elsewhen() -> dict[str, Any]:
    """Return a window of an hour that is not now."""
    return {"start": f"{(datetime.now().astimezone().hour + 12) % 24:02}:00", "minutes": 60}


def devices(fleet: Fleet, name: str) -> dict[str, BatchDevice]:
    return {one.device_id: one for one in fleet.client.batches.show(name).devices}


def write_rows(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0).normal(size=(ROWS, 4)).round(3).tolist()
    path.write_text("".join(json.dumps({"id": at, "features": row}) + "\n" for at, row in enumerate(numbers)))


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    deadline_s = time.monotonic() + WAIT_S
    while not holds(seen := look()):
        assert time.monotonic() < deadline_s, seen
        time.sleep(0.1)
    return seen
