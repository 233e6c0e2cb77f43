"""Does drift detection cry wolf? Alarms on streams that never move, and how soon a shift is found after a long peace.

First on two real, dated data sets, then on made streams. Ours is the controlled rule (`shoal_numerics.drift_evidence`,
e-BH over the features at 0.05, at every window). Peers are the plain KS rule, River's detectors, Alibi Detect,
Evidently and NannyML, each in its own environment.
Run as `python benchmarks/false_alarms.py`; `--full` takes 1,000 streams of 10,000 windows, some hours.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics"))]

from false_alarm_parts import dated_lines, ours  # noqa: E402 - after the path
from false_alarm_parts.streams import Shift, Streams  # noqa: E402 - after the path
from serving_parts.peer import install_peer  # noqa: E402 - after the path

PARTS = Path(__file__).parent / "false_alarm_parts"
MOST_FALSE = 0.05
STABLE = (
    ("independent", 500),
    ("independent", 5_000),
    ("independent", 50_000),
    ("autoregressive", 5_000),
    ("daily", 5_000),
    ("offset", 5_000),
    ("offset", 500),
)
KINDS = ("abrupt", "gradual", "recurring")
TO_FIND = 500
"""Windows after a shift in which it is to be found."""
FALSE = -2


class Share(NamedTuple):
    """How much of a setting a peer is given: a slow one gets fewer streams, and then fewer windows."""

    streams: int
    seconds: float


class Size(NamedTuple):
    """How much is run: chunks of our streams, windows, the times of peace before a shift, and the peers' shares."""

    chunks: int
    windows: int
    peaces: tuple[int, ...]
    stable: Share
    moved: Share
    """A median of few streams is a coin's throw: a peer is to have all streams that ours has."""


SHORT = Size(1, 1_000, (0, 1_000), Share(4, 3.0), Share(4, 3.0))
FULL = Size(20, 10_000, (0, 1_000, 9_000), Share(10, 60.0), Share(50, 500.0))


class Peer(NamedTuple):
    """A peer: its name, its environment and pins, the script, the name that it has there, and its windows a second."""

    name: str
    folder: str
    pins: tuple[str, ...]
    script: str
    key: str
    per_s: float

    def share_of(self, share: Share, windows: int) -> tuple[int, int]:
        """Return how many streams of how many windows it can look at in its time."""
        most = max(10, int(self.per_s * share.seconds))
        streams = max(1, min(share.streams, most // windows))
        return streams, min(windows, most // streams)


RIVER = dated_lines.RIVER
TUNED = "ADWIN at every window, delta of Bonferroni"
ALIBI, EVIDENTLY = ("alibi-detect==0.13.0",), ("evidently==0.7.23", "pandas==2.3.3")
PEERS = (
    Peer("River 0.26.1 ADWIN", "drift-river", RIVER, "river_detectors.py", "ADWIN", 2_000),
    Peer("River 0.26.1 ADWIN, tuned", "drift-river", RIVER, "river_detectors.py", TUNED, 1_000),
    Peer("River 0.26.1 PageHinkley", "drift-river", RIVER, "river_detectors.py", "PageHinkley", 2_000),
    Peer("River 0.26.1 KSWIN", "drift-river", RIVER, "river_detectors.py", "KSWIN", 12),
    Peer("Alibi Detect 0.13.0 KSDrift", "alibi", ALIBI, "window_tests.py", "alibi", 100),
    Peer("Evidently 0.7.23 DataDriftPreset", "evidently", EVIDENTLY, "window_tests.py", "evidently", 2),
)


class Run(NamedTuple):
    """What the streams of one setting came to."""

    false: float
    """Share of streams that alarmed before anything moved."""
    run_length: float
    """Mean windows to a false alarm, or to the end."""
    found: float
    """Share that alarmed within `TO_FIND` windows of the shift."""
    delay: float | None
    """Median windows from the shift to the alarm, of all streams; None where most did not alarm."""
    streams: int

    @classmethod
    def of(cls, alarms: Sequence[int], windows: int, shift: Shift | None) -> "Run":
        """Read first alarms, see `ours.first_alarms`."""
        first = np.array(alarms)
        if shift is None:
            lengths = np.where(first < 0, windows, first + 1)
            return cls(float((first >= 0).mean()), float(lengths.mean()), 0.0, None, len(first))
        late = np.where(first < shift.at, np.inf, first - shift.at)
        delay = float(np.median(late))
        return cls(float((first == FALSE).mean()), 0.0, float((first >= shift.at).mean()), _finite(delay), len(first))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="1,000 streams of 10,000 windows instead of 50 of 1,000")
    parser.add_argument("--peers", default="", help="only the peers whose name contains this; - for none")
    parser.add_argument("--only", choices=("real", "made"), help="only the real data sets, or only the made streams")
    parser.add_argument(
        "--settings",
        help="of the made streams only these stable ones, for instance daily_5000,offset_500; then the delays",
    )
    options = parser.parse_args()
    peers = [peer for peer in PEERS if options.peers in peer.name]
    for peer in peers:  # before any runs: some share an environment, and run side by side
        python_of(peer)
    real = dated_lines.measure(ROOT / ".cache" / "bench", options.peers)
    stable = [
        (kind, rows) for kind, rows in STABLE if f"{kind}_{rows}" in (options.settings or f"{kind}_{rows}").split(",")
    ]
    made = measure(FULL if options.full else SHORT, peers, stable, is_full=options.full)
    for line in {"real": real, "made": made, None: chain(real, made)}[options.only]:
        print(json.dumps(line), flush=True)


def measure(
    size: Size, peers: Sequence[Peer], stable: Sequence[tuple[str, int]], *, is_full: bool
) -> Iterator[dict[str, object]]:
    """Yield the lines: false alarms of each stable setting, then what is found of each shift.

    Whoever cries wolf is not asked how soon it finds a shift.
    """
    holding = list(peers)
    for kind, rows in stable:
        mine = run_ours(size, kind, rows, None)
        name = f"false_alarms_{kind}_{rows}"
        yield _false_line(name, mine, ("plain KS rule at 0.05 a feature", run_plain(size, kind, rows)), is_full=is_full)
        for peer, run in zip(peers, run_peers(peers, size, kind, rows), strict=True):
            if run.false > MOST_FALSE and peer in holding:
                holding.remove(peer)
            yield _false_line(name, mine, (peer.name, run), is_full=is_full)
    for peace in size.peaces:
        for kind in KINDS:
            shift = Shift(kind, peace)
            mine = run_ours(size, "independent", 5_000, shift)
            name = f"drift_delay_{kind}_after_{peace}"
            yield _delay_line(name, mine, None, is_full=is_full)
            for peer in holding:
                if peer.share_of(size.moved, peace + TO_FIND)[1] == peace + TO_FIND:
                    theirs = run_peer(peer, size, "independent", 5_000, shift)
                    yield _delay_line(name, mine, (peer.name, theirs), is_full=is_full)
                else:
                    print(f"{name}: {peer.name} is too slow for so many windows", file=sys.stderr)


def run_ours(size: Size, kind: str, rows: int, shift: Shift | None) -> Run:
    """Run the controlled rule, chunks side by side."""
    windows = shift.at + TO_FIND if shift else size.windows
    chunks = 1 if shift else size.chunks
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(partial(_chunk, kind, rows, shift, windows), range(chunks)))
    return Run.of(np.concatenate(found).tolist(), windows, shift)


def _chunk(kind: str, rows: int, shift: Shift | None, windows: int, chunk: int) -> NDArray[np.int64]:
    return ours.first_alarms(Streams(kind, rows, chunk, shift), windows)


def run_plain(size: Size, kind: str, rows: int) -> Run:
    """Run the plain rule on the first chunk."""
    return Run.of(ours.plain_first_alarms(Streams(kind, rows, 0), size.windows).tolist(), size.windows, None)


def python_of(peer: Peer) -> Path:
    """Return the interpreter of a peer's environment, which is made where there is none."""
    return install_peer(ROOT / ".cache" / "bench" / peer.folder, peer.pins) / "bin" / "python"


def run_peers(peers: Sequence[Peer], size: Size, kind: str, rows: int) -> list[Run]:
    """Run the peers on a stable setting, one on each core: each is a process of one thread."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda peer: run_peer(peer, size, kind, rows, None), peers))


def run_peer(peer: Peer, size: Size, kind: str, rows: int, shift: Shift | None) -> Run:
    """Run a peer on the first streams of the first chunk."""
    streams, windows = peer.share_of(*((size.moved, shift.at + TO_FIND) if shift else (size.stable, size.windows)))
    moved = (shift.kind, str(shift.at)) if shift else ()
    command = (python_of(peer), PARTS / peer.script, peer.key, str(streams), str(windows), kind, str(rows), *moved)
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    return Run.of(json.loads(answer), windows, shift)


def _false_line(name: str, mine: Run, theirs: tuple[str, Run], *, is_full: bool) -> dict[str, object]:
    peer, run = theirs
    return {
        "name": name,
        "unit": f"share of streams; mean run length ours {mine.run_length:.0f}, peer {run.run_length:.0f} windows",
        "ours": mine.false,
        "peer": run.false,
        "peer_name": peer,
        "peer_n": run.streams,
        "ratio": round(run.false / mine.false, 2) if mine.false else None,
        "n": mine.streams,
        "goal": f"ours <= {MOST_FALSE} of 1,000 streams of 10,000 windows",
        "holds": mine.false <= MOST_FALSE if is_full else None,
    }


def _delay_line(name: str, mine: Run, theirs: tuple[str, Run] | None, *, is_full: bool) -> dict[str, object]:
    """Return the line of a shift; without a peer that holds the same rate of false alarms nothing is compared."""
    peer, run = theirs or (None, None)
    is_no_later = run is None or (mine.delay is not None and (run.delay is None or mine.delay <= run.delay))
    is_found = run is None or mine.found >= run.found
    return {
        "name": name,
        "unit": f"windows; found ours {mine.found:.2f}" + (f", peer {run.found:.2f}" if run else ""),
        "ours": mine.delay,
        "peer": run.delay if run else None,
        "peer_name": peer,
        "peer_n": run.streams if run else None,
        "ratio": round(run.delay / mine.delay, 2) if run and mine.delay and run.delay is not None else None,
        "n": mine.streams,
        "goal": "no later, and found no less, than the best peer that holds the same rate of false alarms",
        "holds": (is_no_later and is_found) if is_full and run else None,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


if __name__ == "__main__":
    main()
