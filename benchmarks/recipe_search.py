"""The search over recipes against Olive with its defaults, and against every technique alone, on 2 cores.

Run as `python benchmarks/recipe_search.py [--full]`; prints JSON lines. `--full` searches for 20 minutes; the short run
for 4, and leaves open whether the goals hold.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

ROOT: Final = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts.lines import line  # noqa: E402 - after the path
from compression_parts.models import NETWORKS, load  # noqa: E402 - after the path
from serving_parts.peer import install_peer  # noqa: E402 - after the path

from shoal_compression.errors import CompressionError  # noqa: E402 - after the path
from shoal_compression.latency import timings  # noqa: E402 - after the path
from shoal_compression.model import Form, Model  # noqa: E402 - after the path
from shoal_compression.original import Original  # noqa: E402 - after the path
from shoal_compression.recipe import RecipeData, Tolerance  # noqa: E402 - after the path
from shoal_compression.running_recipes import run_recipe  # noqa: E402 - after the path
from shoal_compression.search.result import SearchResult, SearchSettings  # noqa: E402 - after the path
from shoal_compression.search.searching import RECIPES, search  # noqa: E402 - after the path
from shoal_compression.search.space import Chosen, single_choices, suggest  # noqa: E402 - after the path
from shoal_compression.verify import verify  # noqa: E402 - after the path

# requests: Olive imports it and does not ask for it.
OLIVE: Final = ("olive-ai==0.13.0", "onnxruntime==1.28.0", "onnx==1.23.2", "requests==2.32.5")
OLIVE_NAME: Final = "Olive 0.13.0"
OLIVE_PASSES: Final = ("OnnxStaticQuantization", "OnnxDynamicQuantization")
CHILD: Final = Path(__file__).parent / "compression_parts" / "olive" / "child.py"
FULL_MINUTES, SHORT_MINUTES = 20.0, 4.0
THREADS: Final = 2
NOISE: Final = 1.05
"""By which latencies of the same file differ, although they take turns."""
TIMED_AT_ONCE: Final = 24


class Figures(NamedTuple):
    """What a file costs; less is better in each."""

    size_bytes: int
    latency_ms: float
    drop_points: float

    def covers(self, other: "Figures") -> bool:
        """Whether this is at least as good in everything, latency within the noise."""
        return (
            self.size_bytes <= other.size_bytes
            and self.latency_ms <= other.latency_ms * NOISE
            and self.drop_points <= other.drop_points
        )


def main() -> None:
    """Search, make what stands against it, measure all together and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="search for 20 minutes instead of 4")
    parser.add_argument("--model", default="mnist_cnn", choices=sorted(NETWORKS))
    parser.add_argument("--minutes", type=float, help="of the search, instead")
    options = parser.parse_args()
    minutes = options.minutes or (FULL_MINUTES if options.full else SHORT_MINUTES)
    original = _original(options.model)
    settings = SearchSettings(
        budget_minutes=minutes,
        recipe_minutes=4.0 if options.full else 1.0,
        max_trials=200,
        tolerance=Tolerance(max_drop_points=2.0),
        data=RecipeData(calibration_samples=512),
        threads=THREADS,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = search(original, folder / "search", settings, _tell)
        singles = dict(_singles(original, settings, folder)) if options.full else _singles_found(found)
        rivals = _olive(original, folder)
        _report(original, found, singles, rivals, is_full=options.full)


def _original(name: str) -> Original:
    models: dict[Form, Model] = {}
    for form in ("onnx", "keras"):
        models[form], data = load(name, form=form)
    return Original(name, models, data)


def _singles(original: Original, settings: SearchSettings, folder: Path) -> list[tuple[str, Model]]:
    """Return what each technique makes alone, with its defaults; those of the search are found, not made again."""
    forms: tuple[Form, ...] = tuple(original.models)
    made = []
    for choices in single_choices(forms, has_train=True):
        recipe = suggest(Chosen(choices), forms, settings.frame, has_train=True)
        assert recipe is not None
        try:
            result = run_recipe(
                recipe,
                original.start(recipe),
                original.data,
                folder / "search" / RECIPES,
                reference=original.reference,
                threads=THREADS,
                is_drawn=False,
            )
        except CompressionError as error:
            _tell(f"{recipe.name}: {error}", 0, 0)
            continue
        made.append((recipe.name, result.model))
    return made


def _singles_found(found: SearchResult) -> dict[str, Model]:
    return {one.recipe.name: one.model for one in found.results if len(one.recipe.steps) == 1}


def _olive(original: Original, folder: Path) -> dict[str, Model]:
    """Return what Olive's passes make with their defaults and the same calibration samples, by name."""
    environment = install_peer(ROOT / ".cache" / "bench" / "olive-0.13", OLIVE)
    source = original.models["onnx"]
    (folder / "source.onnx").write_bytes(source.content)
    seen = original.data.calibration.some(512, 0)
    np.savez(folder / "seen.npz", allow_pickle=False, **seen.inputs)
    made = {}
    for kind in OLIVE_PASSES:
        out = folder / kind
        command = [environment / "bin" / "python", CHILD, folder / "source.onnx", folder / "seen.npz", kind, out]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environ["OLIVE_DISABLE_TELEMETRY"] = "1"
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900, env=environ)
        if done.returncode:
            raise SystemExit(f"{OLIVE_NAME} {kind}: {done.stderr[-2_000:]}")
        path = Path(json.loads(done.stdout.splitlines()[-1])["file"])
        made[f"{OLIVE_NAME} {kind}"] = source.with_content(path.read_bytes(), precision="int8")
    return made


def _report(
    original: Original, found: SearchResult, singles: Mapping[str, Model], olive: Mapping[str, Model], *, is_full: bool
) -> None:
    front = {
        one.name: found.result_of(one).model
        for candidates in found.fronts.values()
        for one in candidates
        if one.recipe_sha256 in found.report.results
    }
    figures = _figures(original, {**singles, **olive, **front})
    for name in olive:
        _say_rival(f"recipe_search_{name.split()[-1]}", name, figures, list(front), is_full=is_full)
    left = [name for name in singles if not _is_covered(original, name, figures, {**singles, **front}, list(front))]
    line(
        name="recipe_search_singles",
        unit="techniques alone that the front dominates or equals",
        ours=len(singles) - len(left),
        peer=len(singles),
        peer_name="every technique alone",
        ratio=(len(singles) - len(left)) / max(1, len(singles)),
        n=len(found.results),
        goal="all",
        holds=not left if is_full else None,
        not_covered=left,
        front={name: figures[name]._asdict() for name in front},
        trials=found.report.trials,
        minutes=round(found.report.seconds / 60, 1),
    )


def _is_covered(
    original: Original, name: str, figures: Mapping[str, Figures], models: Mapping[str, Model], front: Sequence[str]
) -> bool:
    """Whether a file of the front is as good in everything; where latency alone says no, the two are timed alone.

    Files of one graph with other weights were seen to differ by more than the noise among twenty others.
    """
    theirs = figures[name]
    if any(figures[one].covers(theirs) for one in front):
        return True
    as_good = [one for one in front if figures[one]._replace(latency_ms=theirs.latency_ms).covers(theirs)]
    for one in as_good:
        timed = timings({one: models[one], name: models[name]}, original.data.test)
        if timed[one].p50_ms <= timed[name].p50_ms * NOISE:
            return True
    return False


def _say_rival(name: str, rival: str, figures: Mapping[str, Figures], front: Sequence[str], *, is_full: bool) -> None:
    theirs = figures[rival]
    covering = [one for one in front if figures[one].covers(theirs)]
    best = min(covering or front, key=lambda one: figures[one].size_bytes)
    line(
        name=name,
        unit="bytes of the smallest file that dominates or equals the peer's in size, latency and accuracy",
        ours=figures[best].size_bytes if covering else None,
        peer=theirs.size_bytes,
        peer_name=rival,
        ratio=theirs.size_bytes / figures[best].size_bytes if covering else None,
        n=len(figures),
        goal="one file of the front is at least as good in everything",
        holds=bool(covering) if is_full else None,
        by=best,
        ours_figures=figures[best]._asdict(),
        peer_figures=theirs._asdict(),
    )


def _figures(original: Original, models: Mapping[str, Model]) -> dict[str, Figures]:
    """Measure all files, their latencies in turns, each as a ratio to the source's in the same turns."""
    source, test = original.reference, original.data.test
    names = list(models)
    found = {}
    usual_ms = timings({"source": source}, test)["source"].p50_ms
    for start in range(0, len(names), TIMED_AT_ONCE):
        some = names[start : start + TIMED_AT_ONCE]
        timed = timings({"source": source} | {name: models[name] for name in some}, test)
        for name in some:
            drop = verify(source, models[name], test, Tolerance()).drop_points
            assert drop is not None
            latency_ms = timed[name].p50_ms / timed["source"].p50_ms * usual_ms
            found[name] = Figures(models[name].size_bytes, latency_ms, round(drop, 6))
    return found


def _tell(stage: str, done: int, total: int) -> None:
    print(f"{stage} {done}/{total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
