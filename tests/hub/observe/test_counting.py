"""Counts of processes: files that go on over a restart, one writer each, and nothing of the moment of who has gone."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.multiprocess import MultiProcessCollector

from shoal_hub.counting import note_ended
from shoal_hub.counts_folder import counts_environment, counts_folder, forget_counts

_COUNTS = """
import os, sys
from shoal_hub.meters import INGEST_MESSAGES, WINDOWS_TAKEN, CONTROLLER_PASS_SECONDS, note_connection
WINDOWS_TAKEN.inc(2)
INGEST_MESSAGES.labels("event").inc(3)
CONTROLLER_PASS_SECONDS.labels("tick").observe(0.02)
note_connection("hub-api", is_up=True)
note_connection("hub-alerts", is_up=True)
assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ, "programs that it starts would count into the hub's files"
assert "SHOAL_COUNTS_AS" not in os.environ
print("counted", flush=True)
if sys.argv[1:] == ["stay"]:
    sys.stdin.read()
os._exit(9)
"""


def start(data: Path, name: str, *arguments: str) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", _COUNTS, *arguments],
        env=os.environ | counts_environment(data, name),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "counted\n"
    return child


def run(data: Path, name: str) -> None:
    """Have a process count some and end without a word."""
    with start(data, name) as child:
        assert child.wait() == 9


def told(data: Path) -> dict[str, float]:
    families = MultiProcessCollector(None, str(counts_folder(data))).collect()  # type: ignore[no-untyped-call]
    samples = (sample for family in families for sample in family.samples)
    return {one.name: one.value for one in samples if one.value and "le" not in one.labels}


def test_a_process_that_starts_again_counts_on_in_the_same_files(tmp_path: Path) -> None:
    run(tmp_path, "ingest")
    files = sorted(path.name for path in counts_folder(tmp_path).iterdir())
    for _ in range(2):
        run(tmp_path, "ingest")
    seen = told(tmp_path)
    assert (seen["shoal_windows_taken_total"], seen["shoal_ingest_messages_total"]) == (6, 9)
    assert seen["shoal_controller_pass_duration_seconds_count"] == 3
    assert sorted(path.name for path in counts_folder(tmp_path).iterdir()) == files, "restarts leave no files behind"


def test_several_of_one_name_each_have_their_own_and_are_summed_up(tmp_path: Path) -> None:
    with start(tmp_path, "ingest", "stay") as first:
        run(tmp_path, "ingest")
        run(tmp_path, "controller")
        assert told(tmp_path)["shoal_windows_taken_total"] == 6
        first.communicate("")


def test_who_has_ended_has_no_connection_any_more_and_what_it_counted_stays(tmp_path: Path) -> None:
    run(tmp_path, "ingest")
    assert told(tmp_path)["shoal_broker_connection_up"] == 1, "nobody has noticed yet; one that comes and goes is none"
    note_ended(tmp_path, "ingest")
    seen = told(tmp_path)
    assert "shoal_broker_connection_up" not in seen
    assert seen["shoal_windows_taken_total"] == 2


def test_a_hub_that_is_started_begins_at_zero(tmp_path: Path) -> None:
    run(tmp_path, "ingest")
    forget_counts(tmp_path)
    assert told(tmp_path) == {}
