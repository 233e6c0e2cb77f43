"""What fails in a step is an error of this package, whatever it was, so that a search goes on with the next recipe."""

from pathlib import Path

import pytest
from tests.compression.zoo import Case, digits

from shoal_compression import technique as technique_module
from shoal_compression.budget import Budget
from shoal_compression.errors import DataError, TechniqueError
from shoal_compression.memory_needed import check_memory
from shoal_compression.techniques.float16 import Float16


@pytest.fixture
def case(bundle_dir: Path) -> Case:
    return digits(bundle_dir, "onnx")


def _failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def make(*_: object) -> None:
        raise error

    monkeypatch.setattr(Float16, "make", make)


def test_what_a_library_raises_names_the_step_and_is_its_cause(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    cause = RuntimeError("stride 2 is not known")
    _failing(monkeypatch, cause)
    with pytest.raises(TechniqueError, match="applying float16: RuntimeError: stride 2 is not known; leave") as caught:
        Float16().apply(case.model, case.data, Budget())
    assert caught.value.__cause__ is cause


def test_too_little_memory_is_said(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, MemoryError())
    with pytest.raises(
        TechniqueError, match="applying float16: it needs more memory than there is; end other programs"
    ):
        Float16().apply(case.model, case.data, Budget())


def test_errors_of_this_package_stay_what_they_are(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, DataError("too few"))
    with pytest.raises(DataError, match="^too few$"):
        Float16().apply(case.model, case.data, Budget())


def test_memory_is_looked_at_before_the_step(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemAvailable: 1 kB\n")

    def check(size_bytes: int, copies: int, doing: str) -> None:
        check_memory(size_bytes, copies, doing, meminfo)

    monkeypatch.setattr(technique_module, "check_memory", check)
    with pytest.raises(TechniqueError, match=r"applying float16: about .* are available"):
        Float16().apply(case.model, case.data, Budget())
