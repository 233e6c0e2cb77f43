"""What was measured is remembered for the conditions that it was measured under, and for no others."""

from pathlib import Path

import pytest

from shoal_agent.engines import EngineSetup
from shoal_agent.engines.remembered import MAX_REMEMBERED, RememberedSetups

SETUP = EngineSetup("onnxruntime", "1.28.0", "cuda", 1, has_arena=True, run_ms=1.5, passed_over=("tensorrt: no",))


def test_a_choice_survives_a_start(tmp_path: Path) -> None:
    path = tmp_path / "run" / "warmup.json"
    RememberedSetups(path).put("a" * 64, "orin 1.28", SETUP)
    again = RememberedSetups(path)
    assert again.get("a" * 64, "orin 1.28") == SETUP
    assert again.of("a" * 64) == SETUP


@pytest.mark.parametrize(("sha256", "fits"), [("b" * 64, "orin 1.28"), ("a" * 64, "orin 1.29")])
def test_another_file_or_other_conditions_are_measured_anew(tmp_path: Path, sha256: str, fits: str) -> None:
    remembered = RememberedSetups(tmp_path / "warmup.json")
    remembered.put("a" * 64, "orin 1.28", SETUP)
    assert remembered.get(sha256, fits) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"fits": "x", "setup": {}}}', b"\xff" * 9])
def test_a_damaged_file_counts_as_empty_and_is_written_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "warmup.json"
    path.write_bytes(content)
    remembered = RememberedSetups(path)
    assert remembered.of("a") is None
    remembered.put("a" * 64, "orin", SETUP)
    assert remembered.of("a" * 64) == SETUP


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    remembered = RememberedSetups(tmp_path / "warmup.json")
    for number in range(MAX_REMEMBERED + 2):
        remembered.put(f"{number:064d}", "orin", SETUP)
    remembered.put(f"{3:064d}", "orin", SETUP)
    assert [n for n in range(MAX_REMEMBERED + 2) if remembered.of(f"{n:064d}") is None] == [0, 1]


def test_a_full_disk_costs_the_memory_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("in the way")
    RememberedSetups(tmp_path / "run" / "warmup.json").put("a" * 64, "orin", SETUP)
    assert "measures again" in caplog.text
