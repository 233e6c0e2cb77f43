"""How many events a second one core takes through windows with 20 features, beside river on the same events.

Run as `python benchmarks/feature_stream.py`; prints one JSON line a figure. CPU time of one process, one thread.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics", "agent"))]

from feature_parts.stream import (  # noqa: E402 - after the path
    AGGREGATES,
    EVERY,
    FIELDS,
    SIZE,
    WINDOW_MS,
    Stream,
    make_stream,
)
from serving_parts.peer import install_peer  # noqa: E402 - after the path

from shoal_agent.features.computation import Computation  # noqa: E402 - after the path
from shoal_agent.settings import FeatureSettings  # noqa: E402 - after the path
from shoal_contract.features import (  # noqa: E402 - after the path
    CountWindow,
    EventForm,
    Feature,
    FeatureDefinition,
    HttpSource,
    Pipeline,
    TimeWindow,
)
from shoal_numerics.features import FeatureWindows  # noqa: E402 - after the path
from shoal_numerics.features.events import Arrival  # noqa: E402 - after the path

PINS = ("river==0.26.1",)
GOAL_EVENTS_PER_S = 200_000
EVENTS, PEER_EVENTS, ENTITIES = 400_000, 40_000, 8
BATCHES = (4096, 256)
SHAPES: dict[str, TimeWindow | CountWindow] = {
    "sliding": CountWindow(size=SIZE, every=EVERY),
    "sliding_by_one": CountWindow(size=SIZE, every=1),
    "tumbling": TimeWindow(size_ms=WINDOW_MS, every_ms=WINDOW_MS),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of ours and the peer")
    rounds = parser.parse_args().rounds
    python = install_peer(ROOT / ".cache" / "bench" / "river", PINS) / "bin" / "python"
    stream = make_stream(EVENTS, ENTITIES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.npz"
        np.savez(path, **{name: column[:PEER_EVENTS] for name, column in stream._asdict().items()})
        for shape in SHAPES:
            check_agreement(shape, stream, run_peer(python, path, shape))
            measured = [measure(shape, stream, python, path) for _ in range(rounds)]
            for batch in BATCHES:
                ours = median(one[str(batch)] for one in measured)
                peer = median(one["river"] for one in measured)
                print(json.dumps(line(f"features_{shape}_batches_of_{batch}", ours, peer, rounds)), flush=True)
        ours = median(through_pipeline(stream) for _ in range(rounds))
        print(json.dumps(line("features_sliding_from_json_lines", ours, None, rounds)), flush=True)


def measure(shape: str, stream: Stream, python: Path, path: Path) -> dict[str, float]:
    """Return events a second of each side, one turn each."""
    found = {str(batch): ours(shape, stream, batch) for batch in BATCHES}
    return found | {"river": PEER_EVENTS / float(str(run_peer(python, path, shape)["cpu_s"]))}


def ours(shape: str, stream: Stream, batch: int) -> float:
    """Return events a second that windows take, given so many at a time."""
    windows = FeatureWindows(definition(shape))
    names = [f"pump-{one}" for one in stream.entities.tolist()]
    started_s = time.process_time()
    for start in range(0, EVENTS, batch):
        part = slice(start, start + batch)
        windows.add(names[part], stream.times_ns[part], stream.values[part])
    return EVENTS / (time.process_time() - started_s)


def through_pipeline(stream: Stream) -> float:
    """Return events a second from lines of JSON to closed windows, as the agent computes them."""
    form = EventForm(time_field="t", time_unit="ns", entity_field="id")
    declared = Pipeline(source=HttpSource(), form=form, definitions=("d",))
    computation = Computation(declared, {"d": definition("sliding")}, {}, FeatureSettings())
    rows = zip(*(column[:PEER_EVENTS].tolist() for column in stream), strict=True)
    now_ns = int(stream.times_ns[-1])
    lines = [
        json.dumps({"id": f"pump-{entity}", "t": at_ns, **dict(zip(FIELDS, values, strict=True))}).encode()
        for entity, at_ns, values in rows
    ]
    arrivals = [Arrival(one, now_ns) for one in lines]
    started_s = time.process_time()
    for start in range(0, PEER_EVENTS, BATCHES[0]):
        computation.take(arrivals[start : start + BATCHES[0]])
    return PEER_EVENTS / (time.process_time() - started_s)


def definition(shape: str) -> FeatureDefinition:
    """Return 20 features of one window; in order of their names, as the peer gives them field by field."""
    features = {
        f"{field}{place}": Feature(aggregate=aggregate, field=field)  # type: ignore[arg-type]
        for field in FIELDS
        for place, aggregate in enumerate(AGGREGATES)
    }
    return FeatureDefinition(window=SHAPES[shape], features=features)


def check_agreement(shape: str, stream: Stream, peer: dict[str, object]) -> None:
    """See that both sides give the same windows with the same values."""
    windows = FeatureWindows(definition(shape))
    found = windows.add([str(one) for one in stream.entities[:PEER_EVENTS]], *(c[:PEER_EVENTS] for c in stream[1:]))
    last: dict[str, NDArray[np.float64]] = dict(zip(found.entities, found.values, strict=True))
    theirs = peer["last"]
    assert isinstance(theirs, dict)
    assert (len(found.entities), last.keys()) == (peer["windows"], theirs.keys())
    for entity, values in theirs.items():
        np.testing.assert_allclose(last[entity], values, rtol=1e-6, atol=1e-6)


def run_peer(python: Path, path: Path, shape: str) -> dict[str, object]:
    """Run river over the stream."""
    script = Path(__file__).parent / "feature_parts" / "river_windows.py"
    every = str(getattr(SHAPES[shape], "every", 0))
    said = subprocess.run([python, script, path, shape, every], check=True, capture_output=True, text=True).stdout
    found: dict[str, object] = json.loads(said)
    return found


def line(name: str, ours: float, peer: float | None, rounds: int) -> dict[str, object]:
    """Return a figure's line."""
    has_goal = peer is not None
    return {
        "name": name,
        "unit": "events/s",
        "ours": round(ours),
        "peer": round(peer) if peer is not None else None,
        "peer_name": PINS[0].replace("==", " ") if has_goal else None,
        "ratio": round(ours / peer, 2) if peer is not None else None,
        "n": rounds,
        "goal": f"ours >= {GOAL_EVENTS_PER_S} events/s on one core" if has_goal else None,
        "holds": ours >= GOAL_EVENTS_PER_S if has_goal else None,
    }


if __name__ == "__main__":
    main()
