"""The local engine, in one process and in several."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.checks.inference_engine import Doubling, InferenceEngineChecks, WorkerEngineChecks, parts, table

from shoal_training.batch_inference.engines.engine import Engine, EngineContext
from shoal_training.batch_inference.engines.local import LocalEngine


class TestInThisProcess(InferenceEngineChecks):
    """Part after part, here."""

    @pytest.fixture
    def engine(self) -> Engine:
        return LocalEngine()


@pytest.mark.slow
class TestInProcesses(WorkerEngineChecks):
    """Two at a time, each of which may be lost."""

    @pytest.fixture
    def engine(self) -> Engine:
        return LocalEngine(workers=2, retries=1)


def test_processes_answer_in_the_order_of_parts_and_one_that_is_lost_is_replaced(tmp_path: Path) -> None:
    engine = LocalEngine(workers=2, retries=1)
    found = list(engine.answers(Doubling(tmp_path, 3, "killed", times=1), parts(), EngineContext(table)))
    assert [part.number for part, _ in found] == [part.number for part in parts()]
    assert [answer.table for _, answer in found] == [Doubling(tmp_path)(part, table(part)).table for part in parts()]


_PROGRAM = """
import sys
from contextlib import suppress
from pathlib import Path
from tests.checks.inference_engine import Telling, parts, table
from shoal_training.batch_inference.engines.engine import EngineContext
from shoal_training.batch_inference.engines.local import LocalEngine

if __name__ == "__main__":
    for part, _ in LocalEngine(workers=2).answers(Telling(Path(sys.argv[1])), parts(), EngineContext(table)):
        print(part.number, flush=True)
        sys.stdin.read()  # as while an answer is written
"""


def test_no_process_outlives_one_that_was_killed(tmp_path: Path) -> None:
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    (tmp_path / "marks").mkdir()
    (tmp_path / "asks.py").write_text(_PROGRAM)
    command = [sys.executable, str(tmp_path / "asks.py"), str(tmp_path / "marks")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=paths, start_new_session=True, stdin=pipe, stdout=pipe) as asking:
        try:
            assert asking.stdout is not None
            assert asking.stdout.readline() == b"1\n"
            at_work = {int(path.read_text()) for path in (tmp_path / "marks").iterdir()}
            assert at_work
            assert asking.pid not in at_work
            os.kill(asking.pid, signal.SIGKILL)
            asking.communicate(timeout=20)  # its output ends with the last process that has it
            assert not any(Path(f"/proc/{one}").exists() for one in at_work)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(asking.pid, signal.SIGKILL)
