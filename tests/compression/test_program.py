"""Compression as a program: what a person and what a job sees."""

import json
import subprocess
import sys
from pathlib import Path

from shoal_compression.report import CompressionReport


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal_compression", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


def test_the_program_explains_its_options() -> None:
    done = _run("variants", "--help")
    assert done.returncode == 0
    assert "int8-qdq-onnx" in done.stdout


def test_a_person_gets_a_table_against_the_original(bundle_dir: Path, tmp_path: Path) -> None:
    done = _run("variants", str(bundle_dir), "--out", str(tmp_path), "--technique", "int8-qdq-onnx")
    assert done.returncode == 0, done.stderr
    assert "float32 ONNX" in done.stdout
    assert "generic-onnx-int8" in done.stdout


def test_a_job_gets_progress_and_the_report_as_json_lines(bundle_dir: Path, tmp_path: Path) -> None:
    done = _run("variants", str(bundle_dir), "--out", str(tmp_path), "--technique", "int8-qdq-onnx", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"progress"}
    report = CompressionReport.model_validate(events[-1]["result"])
    assert [variant.target for variant in report.variants] == ["generic-onnx-int8"]


def test_a_failure_is_a_sentence_for_a_person_and_json_for_a_job(tmp_path: Path) -> None:
    told = _run("variants", str(tmp_path), "--out", str(tmp_path / "out"))
    assert told.returncode == 1
    assert "name the folder that training wrote" in told.stderr
    noted = _run("variants", str(tmp_path), "--out", str(tmp_path / "out"), "--json")
    assert json.loads(noted.stdout.splitlines()[-1])["error"] == "SourceError"
