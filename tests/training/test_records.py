"""What a bundle says of its code and its makers: a commit only where git tracks the file, a card that goes on."""

import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from shoal_training.bundle import CARD_FILE, Bundle, read_bundle, read_card, write_card
from shoal_training.errors import BundleError
from shoal_training.model_card import ModelCard
from shoal_training.source_code import code_record


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    path = tmp_path / "train.py"
    path.write_text("pass\n")
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return path


def test_a_programs_commit_is_recorded_and_whether_the_tree_differed(program: Path) -> None:
    clean = code_record(program)
    assert clean is not None
    assert (clean.commit, clean.is_dirty) == (git(program.parent, "rev-parse", "HEAD"), False)
    program.write_text("raise SystemExit\n")
    dirty = code_record(program)
    assert dirty is not None
    assert dirty.is_dirty


def test_a_file_that_git_does_not_track_has_no_commit(program: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    installed = program.parent / "site-packages.py"
    installed.write_text("pass\n")
    assert code_record(installed) is None
    elsewhere = tmp_path_factory.mktemp("plain") / "train.py"
    elsewhere.write_text("pass\n")
    assert code_record(elsewhere) is None


def test_without_git_there_is_no_commit(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program.parent / "nothing"))
    assert code_record(program) is None


def test_a_card_of_another_form_is_refused_with_the_field(tmp_path: Path) -> None:
    write_card(tmp_path, ModelCard(licence="MIT"))
    assert read_card(tmp_path) == ModelCard(licence="MIT")
    (tmp_path / CARD_FILE).write_text('{"limits": 5}')
    with pytest.raises(BundleError, match="limits"):
        read_card(tmp_path)
    (tmp_path / CARD_FILE).unlink()
    assert read_card(tmp_path) is None


def test_a_bundle_cannot_name_a_file_outside_of_its_folder() -> None:
    for name in ("../secret", "/etc/passwd", "a/b", "..", ""):
        with pytest.raises(ValidationError, match="files"):
            Bundle.model_validate({"files": {name: {"sha256": "0" * 64, "size_bytes": 1}}})


def test_the_digits_say_what_they_are_for_and_how_each_digit_fares(bundle_dir: Path) -> None:
    bundle, card = read_bundle(bundle_dir), read_card(bundle_dir)
    assert card is not None
    assert CARD_FILE in bundle.files
    assert card.licence == "Apache-2.0"
    assert [one.slice for one in card.metrics_by_slice] == [f"digit {digit}" for digit in range(10)]
    counted = [(one.value, one.samples or 0) for one in card.metrics_by_slice]
    mean = sum(value * samples for value, samples in counted) / sum(samples for _, samples in counted)
    assert mean == pytest.approx(bundle.metrics["accuracy"])
