"""The lines of the real, dated data sets: false alarms in what does not move, and the delay after what does."""

import json
import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from false_alarm_parts import dated_sources, ours_dated
from false_alarm_parts.dated import Dated
from serving_parts.peer import install_peer

RIVER = ("river==0.26.1", "scipy==1.17.1")
NANNYML = ("nannyml==0.13.1", "statsmodels==0.15.0")
MOST_FALSE = 0.05
ACCIDENT_STREAMS, CENSUS_STREAMS = 100, 20
"""Orders of the rows in which ours is looked at."""


class DatedPeer(NamedTuple):
    """A peer: its name, its environment's folder and pins, the script's name for it, and how many streams it gets."""

    name: str
    folder: str
    pins: tuple[str, ...]
    key: str
    streams: int


PEERS = (
    DatedPeer("River 0.26.1 ADWIN", "drift-river", RIVER, "ADWIN", 20),
    DatedPeer("River 0.26.1 ADWIN, tuned", "drift-river", RIVER, "ADWIN at every window, delta of Bonferroni", 20),
    DatedPeer("River 0.26.1 PageHinkley", "drift-river", RIVER, "PageHinkley", 20),
    DatedPeer("River 0.26.1 KSWIN", "drift-river", RIVER, "KSWIN", 5),
    DatedPeer("Alibi Detect 0.13.0 TabularDrift", "alibi", ("alibi-detect==0.13.0",), "alibi", 10),
    DatedPeer("NannyML 0.13.1 univariate, chunks of 1,000", "nannyml", NANNYML, "nannyml", 5),
)


def measure(folder: Path, chosen: str) -> Iterator[dict[str, object]]:
    """Yield the lines.

    Args:
        folder: where environments and data are kept.
        chosen: only the peers whose name contains this.
    """
    accidents, census = (read(folder / "dated") for read in (dated_sources.accidents, dated_sources.census))
    mine = _ours(ours_dated.controlled, accidents, ACCIDENT_STREAMS)
    still = _ours(ours_dated.controlled, census, CENSUS_STREAMS)
    named = "plain KS rule at 0.05 a feature"
    yield from _lines(mine, still, named, [_ours(ours_dated.plain, one, 20) for one in (accidents, census)])
    for peer in (one for one in PEERS if chosen in one.name):
        yield from _lines(mine, still, peer.name, [_theirs(folder, peer, one) for one in (accidents, census)])


def _lines(
    mine: list[int | None], still: list[int | None], name: str, theirs: Sequence[list[int | None]]
) -> Iterator[dict[str, object]]:
    moved, unmoved = theirs
    yield _false_line("false_alarms_real_accidents", mine, (name, moved))
    yield _false_line("false_alarms_real_census", still, (name, unmoved))
    yield _tolerance_line(still, (name, unmoved))
    is_rated = max(_early(moved), _early(unmoved)) <= MOST_FALSE
    yield _delay_line(mine, (name, moved), is_rated=is_rated)


def _ours(rule: Callable[[Dated, int], int | None], dated: Dated, streams: int) -> list[int | None]:
    with ProcessPoolExecutor() as pool:
        return list(pool.map(partial(rule, dated), range(streams), chunksize=5))


def _theirs(folder: Path, peer: DatedPeer, dated: Dated) -> list[int | None]:
    python = install_peer(folder / peer.folder, peer.pins) / "bin" / "python"
    script = Path(__file__).with_name("dated_peers.py")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "dated.npz"
        dated.save(path)
        command = (python, script, peer.key, path, str(peer.streams))
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    found: list[int | None] = json.loads(answer)
    return found


def _early(alarms: list[int | None]) -> float:
    return sum(alarm == -1 for alarm in alarms) / len(alarms)


def _late(alarms: list[int | None]) -> float:
    return sum(alarm is not None and alarm != -1 for alarm in alarms) / len(alarms)


def _false_line(name: str, mine: list[int | None], theirs: tuple[str, list[int | None]]) -> dict[str, object]:
    """Return the line of the rest of the first year, in which nothing moves."""
    peer, alarms = theirs
    ours, share = _early(mine), _early(alarms)
    return {
        "name": name,
        "unit": "share of streams that alarm in the year of the reference",
        "ours": ours,
        "peer": share,
        "peer_name": peer,
        "peer_n": len(alarms),
        "ratio": round(share / ours, 2) if ours else None,
        "n": len(mine),
        "goal": f"ours <= {MOST_FALSE}",
        "holds": ours <= MOST_FALSE,
    }


def _tolerance_line(mine: list[int | None], theirs: tuple[str, list[int | None]]) -> dict[str, object]:
    """Return who calls it drift that shares move by 0.043 at most; peers know no tolerance, and are not rated by it."""
    peer, alarms = theirs
    return {
        "name": "within_tolerance_real_census",
        "unit": "share of streams that alarm in the three years after, in which no share moves by more than 0.043",
        "ours": _late(mine),
        "peer": _late(alarms),
        "peer_name": peer,
        "peer_n": len(alarms),
        "ratio": None,
        "n": len(mine),
        "goal": f"ours <= {MOST_FALSE}: less than the tolerance of 0.05 is no drift",
        "holds": _late(mine) <= MOST_FALSE,
    }


def _delay_line(mine: list[int | None], theirs: tuple[str, list[int | None]], *, is_rated: bool) -> dict[str, object]:
    """Return the delays over the orders that both have looked at."""
    name, alarms = theirs
    ours, peer = _delay(mine[: len(alarms)]), _delay(alarms)
    is_no_later = ours is not None and (peer is None or ours <= peer)
    return {
        "name": "drift_delay_real_accidents",
        "unit": "rows of the next year until it is found, median; never: null",
        "ours": ours,
        "peer": peer,
        "peer_name": name if is_rated else f"{name} (cries wolf above)",
        "ratio": round(peer / ours, 2) if ours and peer is not None else None,
        "n": len(alarms),
        "goal": "no later than the best peer that holds the same rate of false alarms",
        "holds": is_no_later if is_rated else None,
    }


def _delay(alarms: list[int | None]) -> float | None:
    """Return the median of the streams that did not cry wolf; None where most never alarm."""
    honest = [math.inf if alarm is None else float(alarm) for alarm in alarms if alarm != -1]
    delay = median(honest or [math.inf])
    return delay if math.isfinite(delay) else None
