"""`shoal-agent batch` as a person sees it: summaries, errors of two lines, exit codes, a bar on a terminal alone."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.agent.batch import jobs
from tests.agent.batch.test_pace import statistics
from tests.agent.test_cli import call, refused

from shoal_contract import __version__


def options(data: Path, output: Path, *sources: Path) -> list[str | Path]:
    inputs = [word for source in sources for word in ("--input", source)]
    return ["batch", "--data", data, "--model", "tiny", "--output", output, "--nice", "0", *inputs]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return jobs.write_csv(tmp_path / "in.csv", jobs.table(50))


def test_a_job_tells_what_it_has_done_for_people_and_for_programs(data: Path, source: Path, tmp_path: Path) -> None:
    result = call(*options(data, tmp_path / "out.csv", source), "--keep", "id")
    assert result.exit_code == 0, result.stderr
    assert "tiny version 1 (generic-onnx-float32): 50 of 50 rows answered in" in result.output
    assert "rejected" not in result.output
    assert result.stderr == "", "no bar where nobody looks"
    assert [row["id"] for row in jobs.read_rows(tmp_path / "out.csv")] == [f"id-{row}" for row in range(50)]
    answer = json.loads(call(*options(data, tmp_path / "out.jsonl", source), "--json").output)
    assert (answer["answered"], answer["rejected"], answer["model"]) == (50, 0, "tiny")


def test_rejected_rows_are_told_and_lie_where_they_are_wanted(data: Path, source: Path, tmp_path: Path) -> None:
    source.write_text(source.read_text() + "short\n")
    result = call(*options(data, tmp_path / "out.csv", source), "--rejects", tmp_path / "bad.jsonl")
    assert result.exit_code == 0
    assert "50 of 51 rows" in result.output
    assert f"rejected  1 rows, with the reasons in {tmp_path / 'bad.jsonl'}" in result.output
    assert jobs.read_rows(tmp_path / "bad.jsonl")[0]["row"] == 51


def test_a_job_that_answers_no_row_at_all_fails(data: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,a,b,c,d\nx,a,b,c,d\n")
    assert call(*options(data, tmp_path / "out.csv", tmp_path / "in.csv")).exit_code == 1


def test_errors_say_what_to_do(data: Path, source: Path, tmp_path: Path) -> None:
    assert "suffix '.xls' found" in refused(*options(data, tmp_path / "out.xls", source))
    assert "the device has none" in refused(*options(tmp_path, tmp_path / "out.csv", source))
    assert "no model" not in refused(*options(data, tmp_path / "out.csv", tmp_path / "gone.csv"))
    wrong = call(*options(data, tmp_path / "out.csv", source), "--window", "1-2")
    assert wrong.exit_code == 2
    assert "a window such as 01:00-05:00 expected" in wrong.stderr


def test_the_version_is_shoal_s() -> None:
    assert call("batch", "--version").output.strip() == __version__
    assert call("--version").output.strip() == __version__


def test_a_pattern_is_expanded_and_a_version_chosen(data: Path, tmp_path: Path) -> None:
    for number in range(3):
        jobs.write_csv(tmp_path / f"{number}.csv", jobs.table(10, number))
    arguments = options(data, tmp_path / "out.jsonl", tmp_path / "*.csv")
    assert json.loads(call(*arguments, "--model-version", "1", "--json").output)["answered"] == 30
    assert "version 7" in refused(*options(data, tmp_path / "new.jsonl", tmp_path / "*.csv"), "--model-version", "7")


def process(*words: object, **fields: Any) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "shoal_agent", *map(str, words)]
    return subprocess.Popen(command, env=environment, text=True, **fields)


def test_a_signal_ends_a_resting_job_with_a_code_of_its_own(data: Path, source: Path, tmp_path: Path) -> None:
    """It says that it rests before it is told to end; windows of one minute, twelve hours away."""
    from datetime import datetime, timedelta, timezone

    away = datetime.now(timezone.utc) + timedelta(hours=12)
    window = f"{away:%H:%M}-{away + timedelta(minutes=1):%H:%M}"
    words = [*options(data, tmp_path / "out.csv", source), "--window", window, "--time-zone", "UTC"]
    job = process(*words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert job.stderr is not None
    assert job.stderr.readline() == "resting: outside of its windows\n"
    job.send_signal(signal.SIGTERM)
    _, rest = job.communicate(timeout=30)
    assert job.returncode == 75
    assert "stopped: the batch job was asked to end" in rest
    assert "  do: run the same command again" in rest
    assert call(*options(data, tmp_path / "out.csv", source)).exit_code == 0


def test_a_terminal_gets_a_bar(data: Path, source: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    job = process(*options(data, tmp_path / "out.csv", source), stderr=theirs, stdout=subprocess.PIPE)
    job.communicate(timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert job.returncode == 0
    assert "batch" in shown
    assert "100%" in shown


class _Agent(BaseHTTPRequestHandler):
    """An agent that has computed a second more at its second and third answer, and nothing from then on."""

    asked = 0

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked += 1
        body = json.dumps(statistics(min(kind.asked, 3) * 10**9)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_job_rests_while_the_agent_serves(tmp_path: Path) -> None:
    data = jobs.deploy(tmp_path / "device")
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(100))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Agent) as agent:
        threading.Thread(target=agent.serve_forever, daemon=True).start()
        (data / "run").mkdir()
        (data / "run" / "endpoint.json").write_text(json.dumps({"url": f"http://127.0.0.1:{agent.server_port}"}))
        result = call(*options(data, tmp_path / "out.jsonl", source), "--when-idle", "--json")
        agent.shutdown()
    assert "resting: the agent is at" in result.stderr
    answer = json.loads(result.output)
    assert answer["answered"] == 100
    assert answer["rested_seconds"] >= 2.0


_PEAK = """
import atexit, re, sys
from pathlib import Path
from shoal_agent.cli import main

def peak():
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)

atexit.register(peak)
main()
"""


def test_memory_does_not_grow_with_the_file(data: Path, tmp_path: Path) -> None:
    """Ten times the rows, in row groups of the same size, may cost no more than the noise of a process.

    The kernel's peak of the process's own memory: `ru_maxrss` has that of the one that started it in it.
    """
    peaks = []
    for rows in (40_000, 400_000):
        columns = {name: column for name, column in jobs.table(rows).items() if name != "id"}
        source = jobs.write_parquet(tmp_path / f"{rows}.parquet", columns, group_rows=20_000)
        words = [sys.executable, "-c", _PEAK, *map(str, options(data, tmp_path / f"{rows}.out.parquet", source))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=110, check=True)
        peaks.append(int(ran.stderr.splitlines()[-1]) * 1024)
    assert peaks[1] - peaks[0] < 16_000_000, peaks
