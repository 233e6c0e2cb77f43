"""Runs one target under a coverage-guided fuzzer (atheris, which is libFuzzer) and keeps what it finds.

Usage: python -m tests.fuzz.run TARGET SECONDS; what finds new ways is added to tests/fuzz/corpus/TARGET.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["shoal_agent", "pydantic_core", "httptools"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MOST_BYTES = 1024


def main() -> None:
    """Fuzz, and end with a status that says whether something was found."""
    name, seconds = sys.argv[1], int(sys.argv[2])
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        f"-dict={Path(__file__).parent / 'words.dict'}",
        f"-artifact_prefix={CORPUS.parent}/crash-{name}-",
        "-print_final_stats=1",
        "-timeout=30",
        "-rss_limit_mb=1024",
    ]
    atheris.Setup([sys.argv[0], *options, str(CORPUS / name)], keeping(name, TARGETS[name]))
    atheris.Fuzz()


def keeping(name: str, target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return the target, which keeps what it fails with beside the corpus: libFuzzer sees no end of the process."""

    def run(data: bytes) -> None:
        try:
            target(data)
        except Exception:
            (CORPUS.parent / f"crash-{name}-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise

    return run


if __name__ == "__main__":
    main()
