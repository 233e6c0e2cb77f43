"""Brings together what devices of a target class have measured, or what is predicted for them. Pure.

The worst board of a class counts: the same file is served by all of them. Of devices of one board it is the median.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from pydantic import BaseModel, ConfigDict

from shoal_compression.errors import SearchError
from shoal_compression.measures import Measures
from shoal_compression.predictor.predictor import StatedError
from shoal_compression.search.candidates import (
    OBJECTIVES,
    SOURCE,
    Candidate,
    Constraints,
    Objective,
    choose,
    pareto_front,
)
from shoal_contract.benchmarks import BenchmarkResult, CandidateMeasured
from shoal_hub.compression.lost_points import lost_points
from shoal_hub.compression.predictions import ClassPredictions, PredictedLatency, how_to_profile
from shoal_hub.compression.samples import SourceHere

UNKNOWN: Final = SourceHere()
_Told = tuple[CandidateMeasured, float | None]
"""What a device has told of a candidate, and the points that it loses there."""


class MadeFile(BaseModel):
    """A file that could be chosen, with the figures of the machine that made it."""

    model_config = ConfigDict(frozen=True)

    name: str
    recipe_sha256: str
    sha256: str
    runtime: str
    here: Measures
    drop_points: float | None
    targets: tuple[str, ...] = ()
    """Classes that its recipe is for; none: all."""


class Choice(BaseModel):
    """What was chosen for a target class, and among what."""

    model_config = ConfigDict(frozen=True)

    target_class: str
    target: str | None = None
    """Under which it is registered; None: nothing is chosen."""
    chosen: str | None = None
    basis: str
    """`devices`; where none of the class has measured `predicted`: latency is, by what operators of other files took
    there; or `here`. All other figures of these two are the hub's machine's."""
    devices: dict[str, int] = {}
    """How many have measured, by board or processor."""
    candidates: tuple[Candidate, ...] = ()
    front: tuple[str, ...] = ()
    left_out: dict[str, str] = {}
    """Why, by candidate."""
    reason: str = ""
    """Why nothing is chosen, or what is to be known of the choice."""
    assumed: dict[str, float] = {}
    """Points that candidates lose at the hub, where a device could not tell: what a choice holds them to."""
    predicted: dict[str, PredictedLatency] = {}
    """Between what bounds the latency of a candidate is predicted to be."""
    errors: dict[str, StatedError] = {}
    """Of what is predicted, by board: found with files that were left out in turn."""


def candidates_of(
    target_class: str,
    files: Sequence[MadeFile],
    results: Mapping[str, Sequence[BenchmarkResult]],
    predictions: ClassPredictions | None = None,
    source: SourceHere = UNKNOWN,
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the candidates of a class by the worst of its boards, and why others are left out.

    Args:
        target_class: The class.
        files: The source first.
        results: What devices have measured, by board.
        predictions: What counts where none has.
        source: What stands in for the source where a device does not run it.
    """
    if not results:
        if not is_predicted(results, predictions) or predictions is None:
            return [_here(target_class, file) for file in files], {}
        return _predicted(target_class, files, predictions)
    found: list[Candidate] = []
    left_out: dict[str, str] = {}
    for file in files:
        told = {board: _of(file.name, rows, source) for board, rows in results.items()}
        problem = next((one.problem for rows in told.values() for one, _ in rows if one.problem is not None), None)
        missing = [board for board, rows in told.items() if not rows]
        if problem is not None or missing:
            left_out[file.name] = problem.message if problem else f"not measured on {', '.join(missing)}"
            continue
        found.append(_worst(target_class, file, [*told.values()]))
    return found, left_out


def is_predicted(results: Mapping[str, Sequence[BenchmarkResult]], predictions: ClassPredictions | None) -> bool:
    """Whether predictions are what counts for a class."""
    return not results and predictions is not None and bool(predictions.files)


def base_of(
    target_class: str,
    model: str,
    files: Sequence[MadeFile],
    results: Mapping[str, Sequence[BenchmarkResult]],
    predictions: ClassPredictions | None = None,
    source: SourceHere = UNKNOWN,
) -> Choice:
    """Return what can be chosen among for a class, before it is, see `candidates_of`."""
    candidates, left_out = candidates_of(target_class, files, results, predictions, source)
    made = Choice(
        target_class=target_class,
        basis="devices" if results else "here",
        devices={board: len(rows) for board, rows in results.items()},
        candidates=tuple(candidates),
        left_out=left_out,
    )
    if results:
        assumed = _assumed(candidates, files, results, source)
        told = f"a device could not compare {', '.join(assumed)} with the source: points lost at the hub count as well"
        return made.model_copy(update={"assumed": assumed, "reason": told if assumed else ""})
    if predictions is None or not is_predicted(results, predictions):
        return made.model_copy(update={"reason": how_to_profile(target_class, model, predictions)})
    missing = ", ".join(f"{board} ({count})" for board, count in sorted(predictions.missing.items()))
    reason = f"too few files are known of {missing}: it is not looked at" if missing else ""
    said = {"basis": "predicted", "predicted": predictions.files, "errors": predictions.errors, "reason": reason}
    return made.model_copy(update=said)


def choose_for(base: Choice, constraints: Constraints, prefer: Objective) -> Choice:
    """Return the choice for a class; the source itself may be chosen. If nothing can be, its reason says why."""
    judged = [_judged(one, base.assumed.get(one.name)) for one in base.candidates]
    front = pareto_front(judged, _measured_of(judged))
    try:
        _check_measured(judged, prefer)
        chosen = choose(judged, constraints, prefer).name
    except SearchError as error:
        return base.model_copy(update={"reason": and_also(str(error), base.reason)})
    return base.model_copy(update={"front": tuple(one.name for one in front), "chosen": chosen})


def _check_measured(candidates: Sequence[Candidate], prefer: Objective) -> None:
    """See that there are figures to choose by.

    Raises:
        SearchError: There are candidates, and none has them.
    """
    measured = _measured_of(candidates)
    if candidates and prefer not in measured:
        raise SearchError(f"choosing by {prefer}: nobody has measured it; prefer {' or '.join(measured)} instead")


def _judged(one: Candidate, assumed: float | None) -> Candidate:
    """Return a candidate with the points that it is held to: of what a device found, and what is assumed, the worse."""
    if assumed is None:
        return one
    return one.model_copy(update={"drop_points": max(assumed, assumed if one.drop_points is None else one.drop_points)})


def _assumed(
    candidates: Sequence[Candidate],
    files: Sequence[MadeFile],
    results: Mapping[str, Sequence[BenchmarkResult]],
    source: SourceHere,
) -> dict[str, float]:
    """Return the points that are lost at the hub of candidates of which a device can not tell them."""
    here = {file.name: file.drop_points for file in files}
    found = {}
    for one in candidates:
        drops = [drop for rows in results.values() for _, drop in _of(one.name, rows, source)]
        points = here.get(one.name)
        if None in drops and points is not None:
            found[one.name] = points
    return found


def and_also(*said: str) -> str:
    """Return what is to be known of a choice, of several parts that may be empty."""
    return "; ".join(one for one in said if one)


def _measured_of(candidates: Sequence[Candidate]) -> list[Objective]:
    """Return the objectives that were measured of any."""
    return [name for name in OBJECTIVES if any(one.cost(name) != float("inf") for one in candidates)]


def _of(name: str, rows: Sequence[BenchmarkResult], source: SourceHere) -> list[_Told]:
    return [(one, lost_points(one, row, source)) for row in rows for one in row.measured if one.name == name]


def _here(target_class: str, file: MadeFile) -> Candidate:
    return Candidate(
        name=file.name,
        recipe_sha256=file.recipe_sha256,
        target=target_class,
        measures=file.here,
        drop_points=0.0 if file.name == SOURCE else file.drop_points,
    )


def _predicted(
    target_class: str, files: Sequence[MadeFile], predictions: ClassPredictions
) -> tuple[list[Candidate], dict[str, str]]:
    found: list[Candidate] = []
    left_out: dict[str, str] = {}
    for file in files:
        told = predictions.files.get(file.name)
        if told is None:
            unknown = f"{file.runtime} tells nothing of its operators, so that no latency is predicted: measure it"
            left_out[file.name] = predictions.problems.get(file.name, unknown)
            continue
        here = _here(target_class, file)
        latency = {"latency_p50_ms": told.latency_ms, "latency_p95_ms": None}
        found.append(here.model_copy(update={"measures": here.measures.model_copy(update=latency)}))
    return found, left_out


def _worst(target_class: str, file: MadeFile, boards: Sequence[Sequence[_Told]]) -> Candidate:
    told = [one for board in boards for one in board]
    right = [one.right / one.samples for one, _ in told if one.right is not None and one.samples]
    agreed = [_agreement(one) for one, _ in told]
    drops = [drop for _, drop in told if drop is not None]
    measures = file.here.model_copy(
        update={
            "latency_p50_ms": max(median(one.latency_ms.p50 for one, _ in board if one.latency_ms) for board in boards),
            "latency_p95_ms": max(median(one.latency_ms.p95 for one, _ in board if one.latency_ms) for board in boards),
            "memory_bytes": round(max(median(one.memory_bytes for one, _ in board) for board in boards)),
            "energy_mj": None,  # devices do not tell it, and the hub's says nothing of them
            "accuracy": min(right) if len(right) == len(told) else None,
            "agreement": min((one for one in agreed if one is not None), default=None),
            "where": target_class,
        }
    )
    return Candidate(
        name=file.name,
        recipe_sha256=file.recipe_sha256,
        target=target_class,
        measures=measures,
        drop_points=max(drops, default=None),
    )


def _agreement(one: CandidateMeasured) -> float | None:
    compared = one.paired.samples if one.paired is not None else one.samples
    return one.agreed / compared if one.agreed is not None and compared else None
