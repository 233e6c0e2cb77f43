"""The task file tells of itself, and CI does what a person does."""

import re
import subprocess
from pathlib import Path

_TARGET = re.compile(r"^\.PHONY: ([\w-]+)$", re.MULTILINE)


def test_make_alone_lists_every_target_with_a_line_of_help(root: Path) -> None:
    listed = subprocess.run(["make", "--no-print-directory"], cwd=root, check=True, capture_output=True, text=True)
    helped = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1:] for line in listed.stdout.splitlines()}
    targets = _TARGET.findall((root / "Makefile").read_text())
    assert sorted(helped) == sorted(targets)
    assert all(helped.values())


def test_ci_runs_only_targets_that_a_person_can_run(root: Path) -> None:
    steps = re.findall(r"^step (.+)$", (root / ".ci/run").read_text(), re.MULTILINE)
    targets = _TARGET.findall((root / "Makefile").read_text())
    assert {"make check", "make test"} <= set(steps)
    assert [
        step for step in steps if step.split() != ["make", step.split()[-1]] or step.split()[-1] not in targets
    ] == []


def test_the_conformance_run_says_what_it_lacks_before_it_installs_anything(root: Path, tmp_path: Path) -> None:
    command = ["make", "--no-print-directory", "tuf-conformance", f"SUITE={tmp_path}"]
    refused = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert f"SUITE='{tmp_path}' holds no tuf_conformance/conftest.py" in refused.stderr
    assert "https://github.com/theupdateframework/tuf-conformance" in refused.stderr
