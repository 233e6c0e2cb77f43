"""Compression as a program: what a person and what a job sees."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures import tiny
from typer.testing import CliRunner

from shoal_compression.__main__ import app
from shoal_compression.report import CompressionReport


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal_compression", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


def test_the_program_explains_its_options() -> None:
    done = _run("variants", "--help")
    assert done.returncode == 0
    assert "int8-qdq-onnx" in done.stdout


@pytest.mark.parametrize("command", ["run", "search", "report", "recipes", "variants"])
def test_every_argument_has_its_help(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    arguments = shown.split("Options")[0].split("Arguments")[1]
    lines = [line for line in arguments.splitlines() if line.startswith("│ ")]
    assert lines
    assert all(len(line.removesuffix("│").replace("[required]", "").split()) > 4 for line in lines), arguments


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


MODEL = str(tiny.FILES / "classify.onnx")


@pytest.mark.parametrize(
    "given",
    [
        ("--tolerate", "-1"),
        ("--tolerate", "150"),
        ("--tolerate", "nan"),
        ("--max-drop", "-0.5"),
        ("--max-latency-ms", "nan"),
        ("--minutes", "inf"),
        ("--recipe-minutes", "20000"),
        ("--seed", str(2**32)),
    ],
)
def test_a_number_out_of_its_bounds_is_a_usage_error(given: tuple[str, str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["search", MODEL, "--out", str(tmp_path / "out"), *given])
    assert done.exit_code == 2
    assert given[0] in done.output
    assert not (tmp_path / "out").exists()


def test_cuda_without_a_gpu_is_answered_with_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_compression.budget.best_accelerator", lambda: "cpu")
    done = CliRunner().invoke(app, ["search", MODEL, "--out", str(tmp_path), "--accelerator", "cuda", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["message"] == "training with cuda: PyTorch finds no GPU; take --accelerator cpu"


def test_a_folder_that_is_a_file_is_said_in_a_sentence_and_as_json(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    np.savez(tmp_path / "samples.npz", x=np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    words = ["run", "float16", MODEL, "--out", str(tmp_path / "file"), "--calibration", str(tmp_path / "samples.npz")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 1
    assert "name a folder that can be written, with room" in told.stderr
    noted = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(noted.stdout.splitlines()[-1])["error"] == "OutputError"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (PermissionError(13, "Permission denied", "model.onnx"), "PermissionError", "'model.onnx'; see that it can be"),
        (ModuleNotFoundError("none", name="rich.progress"), "MissingLibraryError", "install shoal[compress]"),
    ],
)
def test_what_the_system_refuses_and_a_missing_library_are_sentences(
    error: Exception, kind: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("shoal_compression.commands.run.read_original", refuse)
    words = ["run", "float16", MODEL, "--out", str(tmp_path)]
    assert said in CliRunner().invoke(app, words).stderr
    noted = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (noted["error"], said in noted["message"]) == (kind, True)
