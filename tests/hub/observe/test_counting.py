"""Counts of processes: files that go on over a restart, one writer each, and nothing of the moment of who has gone."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from shoal_hub.counting import _Processes
from shoal_hub.counts_files import KINDS, is_whole
from shoal_hub.counts_folder import counts_environment, counts_folder, forget_counts, lock_of, places
from shoal_hub.observe.processes import process_families
from shoal_hub.settings import Settings

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
if sys.argv[1:] == ["stay"]:
    from shoal_hub.counting import note_serving
    note_serving()
print("counted", flush=True)
if sys.argv[1:] in (["stay"], ["begin"]):
    sys.stdin.read()
os._exit(9)
"""


def start(data: Path, name: str, *arguments: str, program: str = _COUNTS) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
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
    samples = (sample for family in _Processes(counts_folder(data)).collect() for sample in family.samples)
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
    with start(tmp_path, "ingest", "stay") as child:
        assert told(tmp_path)["shoal_broker_connection_up"] == 1, "one that comes and goes is none"
        child.communicate("")
    seen = told(tmp_path)
    assert "shoal_broker_connection_up" not in seen
    assert seen["shoal_windows_taken_total"] == 2


def test_a_hub_that_is_started_begins_at_zero_and_leaves_a_job_that_still_runs_alone(tmp_path: Path) -> None:
    run(tmp_path, "ingest")
    with start(tmp_path, "job", "stay") as job:
        forget_counts(tmp_path, ["ingest"])
        assert told(tmp_path)["shoal_windows_taken_total"] == 2, "the job's"
        assert [(place.name, place.is_serving) for place in places(counts_folder(tmp_path))] == [
            ("ingest", False), ("job", True),
        ]  # fmt: skip
        job.communicate("")
    forget_counts(tmp_path)
    assert told(tmp_path) == {}


def test_files_of_counts_have_all_of_their_disk(tmp_path: Path) -> None:
    run(tmp_path, "api")
    files = {path.name: path.stat() for path in counts_folder(tmp_path).glob("*.db")}
    assert files.keys() == {f"{kind}_api.db" for kind in KINDS}
    assert all(found.st_blocks * 512 >= found.st_size > 0 for found in files.values()), "a hole is a SIGBUS to come"


def test_a_process_that_finds_no_room_for_its_counts_runs_and_says_so(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", _COUNTS],
        env=os.environ | counts_environment(tmp_path, "ingest"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.returncode, child.stdout) == (9, "counted\n")
    assert child.stderr.count("counts in memory") == 1


_GROWS = """
import os, resource
from shoal_hub.meters import INGEST_REFUSED, WINDOWS_TAKEN
def more(first):
    for number in range(first, first + 600):
        INGEST_REFUSED.labels(str(number)).inc()
more(0)
size = os.stat(os.path.join(os.sys.argv[1], "counter_ingest.db")).st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
more(600)
WINDOWS_TAKEN.inc(5)
print("counted", flush=True)
os._exit(9)
"""


def test_files_grow_by_what_the_disk_has_and_what_finds_no_room_is_passed_over(tmp_path: Path) -> None:
    with start(tmp_path, "ingest", str(counts_folder(tmp_path)), program=_GROWS) as child:
        assert child.wait() == 9
    grown = (counts_folder(tmp_path) / "counter_ingest.db").stat()
    assert grown.st_blocks * 512 >= grown.st_size > 2**16
    samples = [one for family in _Processes(counts_folder(tmp_path)).collect() for one in family.samples]
    assert 600 <= sum(one.name == "shoal_ingest_messages_refused_total" for one in samples) < 1200
    assert told(tmp_path)["shoal_windows_taken_total"] == 5


def test_a_file_that_a_power_cut_spoilt_is_left_out_and_made_anew(tmp_path: Path) -> None:
    run(tmp_path, "ingest")
    run(tmp_path, "job")
    spoilt = counts_folder(tmp_path) / "counter_ingest.db"
    with spoilt.open("r+b") as file:
        file.seek(64)
        file.write(b"\0" * 512)
    assert not is_whole(spoilt)
    assert told(tmp_path)["shoal_windows_taken_total"] == 2, "the job's"
    run(tmp_path, "ingest")
    assert told(tmp_path)["shoal_windows_taken_total"] == 4


def test_counts_of_another_version_are_not_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path, "ingest")
    lock_of(counts_folder(tmp_path), "ingest").write_text("1 0.0.0-other")
    run(tmp_path, "ingest")
    assert told(tmp_path)["shoal_windows_taken_total"] == 2


def of_processes(settings: Settings) -> set[tuple[str, str, float]]:
    """(what, process, value) of all that is told of processes; of sizes and times, that there are some."""
    return {
        (family.name.removeprefix("shoal_hub_process_"), one.labels["process"],
         one.value if family.name.endswith("up") else one.value > 0)
        for family in process_families(settings) for one in family.samples if "process" in one.labels
    }  # fmt: skip


def test_processes_are_told_of_where_they_are_meant_to_run_and_live_while_they_hold_their_place(
    tmp_path: Path,
) -> None:
    settings = Settings.read({"SHOAL_DATA": str(tmp_path)})
    assert of_processes(settings) == set(), "this machine may run none"
    forget_counts(tmp_path, ["api"])
    (tmp_path / "run" / "api.ready").write_text(str(os.getpid()))  # of one long gone, whose number another has
    with start(tmp_path, "ingest", "stay") as first, start(tmp_path, "ingest", "stay") as second:
        assert of_processes(settings) == {
            ("up", "api", 0), ("up", "ingest", 1),
            *((what, name, True) for what in ("resident_memory_bytes", "cpu_seconds")
              for name in ("ingest", "ingest-2")),
        }  # fmt: skip
        first.communicate("")
        assert ("up", "ingest", 1) in of_processes(settings), "the second one's"
        second.communicate("")
    assert of_processes(settings) == {("up", "api", 0), ("up", "ingest", 0)}
    with start(tmp_path, "api", "begin") as begins:
        assert ("up", "api", 0) in of_processes(settings), "it lives, and does not serve yet"
        begins.communicate("")
