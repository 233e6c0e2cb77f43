"""What the fuzzer has found ways with is answered or refused, as it was then; it goes on with `make fuzz`."""

from pathlib import Path

import pytest
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_everything_in_the_corpus_is_answered_or_refused(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert len(files) >= 3
    for file in files:
        TARGETS[name](file.read_bytes())
