"""`shoal batch`, and the client's jobs, against a real hub."""

import json
from pathlib import Path

from tests.cli.conftest import DEVICES, Shoal
from tests.hub.served import ServedHub
from tests.simulators.rows import add_version

from shoal_hub.batches.tables import BatchDevice

GARDEN, KITCHEN = DEVICES["garden"], DEVICES["kitchen"]


def test_a_job_is_handed_out_shown_fetched_and_cancelled_by_commands(
    shoal: Shoal, served: ServedHub, tmp_path: Path
) -> None:
    assert "No batch job yet" in shoal("batch", "list").out
    with served.hub.database.transaction() as session:
        add_version(session, served.hub.artifacts, 1, {})
    words = ("--model", "digits", "--input", "*.csv", "--keep", "id", "--window", "23:00-01:30", "--fetch-mb", "2")
    made = shoal("batch", "create", "march", *words, "--device", "garden", "--device", KITCHEN, "--json")
    body = json.loads(made.out)["body"]
    assert (body["keep"], body["max_result_bytes"], body["max_load"]) == (["id"], 2_000_000, 0.1)
    assert (body["windows"][0]["start"], body["windows"][0]["minutes"]) == ("23:00", 150)
    assert "open=2" in shoal("batch", "list").out
    assert "no answers to march have come" in shoal("batch", "fetch", "march").err

    with served.hub.database.transaction() as session:
        row = session.get_one(BatchDevice, ("march", GARDEN))
        stored = served.hub.artifacts.put(b"answers")
        row.outcome, row.answered, row.result_bytes = "done", 9, 7
        row.result_sha256, row.is_stored = stored.sha256, True
        session.add(row)
    shown = shoal("batch", "show", "march").out
    assert all(text in shown for text in ("9 answered, 0 rejected", "7 B at the hub", "waiting", KITCHEN))
    assert "answers of 1 devices" in shoal("batch", "fetch", "march", "--folder", str(tmp_path / "a")).out
    assert (tmp_path / "a" / f"march-{GARDEN}.jsonl").read_bytes() == b"answers"
    assert "cancelled by ada" in shoal("batch", "cancel", "march").out
    assert "cancelled=1" in shoal("batch", "list").out


def test_what_is_no_window_or_names_no_device_is_an_error_with_a_remedy(shoal: Shoal) -> None:
    words = ("batch", "create", "april", "--model", "digits", "--input", "*.csv")
    assert "01:00-05:00" in shoal(*words, "--window", "1-5", "--device", "garden").err
    assert "name groups or devices" in shoal(*words).err
