"""What has been measured of a benchmark that is not over: on disk, so that a restart or a lost file costs no work.

`<data>/benchmarks/<name>/measured/<sha256>-<runtime>.json` for each candidate; it goes with the benchmark's folder.
"""

from logging import getLogger
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.durable import make_folder, replace_file
from shoal_agent.errors import DiskError
from shoal_contract.benchmarks import BenchmarkCandidate, CandidateMeasured, DesiredBenchmark
from shoal_contract.ids import sha256_hex

_log = getLogger(__name__)
MAX_BYTES: Final = 1024 * 1024
"""Of one candidate's file; there are at most as many as candidates."""


class KeptCandidate(BaseModel):
    """One candidate, as it was measured."""

    model_config = ConfigDict(frozen=True)

    asked: str
    """What was asked for, see `KeptResults`: nothing else is answered by it."""
    measured: CandidateMeasured
    runtime_version: str = ""
    cores: tuple[int, ...] = ()


class KeptResults:
    """The candidates of one benchmark. It reads and writes files: not in the event loop.

    Args:
        folder: The benchmark's.
        wanted: What is asked for. Its deadline may change, and what was measured still counts.
    """

    def __init__(self, folder: Path, wanted: DesiredBenchmark) -> None:
        self._folder = folder / "measured"
        self._asked = sha256_hex(wanted.model_dump_json(exclude={"deadline_at"}).encode())

    def read(self, candidate: BenchmarkCandidate) -> KeptCandidate | None:
        """Return what was measured of a candidate, if it was."""
        path = self._path(candidate)
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            kept = KeptCandidate.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            _log.warning("reading %s: %s; the candidate is measured again", path, error)
            return None
        if kept.asked != self._asked:
            return None
        # The same file may stand under two names.
        return kept.model_copy(update={"measured": kept.measured.model_copy(update={"name": candidate.name})})

    def write(
        self,
        candidate: BenchmarkCandidate,
        measured: CandidateMeasured,
        runtime_version: str = "",
        cores: tuple[int, ...] = (),
    ) -> KeptCandidate:
        """Keep what was measured of a candidate, and return it.

        Raises:
            DiskError: The disk does not take it.
        """
        kept = KeptCandidate(asked=self._asked, measured=measured, runtime_version=runtime_version, cores=cores)
        self._replace(self._path(candidate), kept.model_dump_json().encode())
        return kept

    def start(self, candidate: BenchmarkCandidate) -> int:
        """Note that a candidate's process is about to start, and return how often one has started before.

        Raises:
            DiskError: The disk does not take it.
        """
        path = self._path(candidate).with_suffix(".starts")
        try:
            before = int(path.read_bytes()[:4])
        except (OSError, ValueError):
            before = 0
        self._replace(path, str(before + 1).encode())
        return before

    def _path(self, candidate: BenchmarkCandidate) -> Path:
        return self._folder / f"{candidate.sha256}-{candidate.runtime}.json"

    def _replace(self, path: Path, content: bytes) -> None:
        try:
            make_folder(path.parent, mode=0o700)
            replace_file(path, content)
        except OSError as error:
            raise DiskError(f"keeping what was measured in {path}: {error}", "free some disk space") from error
