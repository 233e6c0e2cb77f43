"""The evaluation of a run: the fold whose model is kept, with all that is asked, and the metrics of further folds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_training.bundle import BUNDLE_FILE, record_file
from shoal_training.errors import DataError, LimitError, PipelineError
from shoal_training.evaluation.anomaly_metrics import chosen_threshold
from shoal_training.evaluation.champion import ACCEPTED, champion_scores, compare
from shoal_training.evaluation.evaluate import Asked, HeldOut, evaluate
from shoal_training.evaluation.metric import Metric
from shoal_training.evaluation.metrics import main_metric
from shoal_training.evaluation.result import Comparison, EvaluationResult, FoldSpread
from shoal_training.evaluation_report.page import Evaluated, evaluation_page
from shoal_training.explain.explain import Explained, explain
from shoal_training.explain.explanation import ExplanationResult
from shoal_training.fairness.assess import FairnessResult, assess
from shoal_training.onnx_samples import Array
from shoal_training.pipeline import steps
from shoal_training.pipeline.definition import Pipeline
from shoal_training.pipeline.finding import ChampionFinder
from shoal_training.transforms.joined_graph import SCORES

EVALUATION_FILE: Final = "evaluation.json"
EXPLANATION_FILE: Final = "explanation.json"
FAIRNESS_FILE: Final = "fairness.json"
PAGE_FILE: Final = "evaluation.html"
_THRESHOLD_ROWS: Final = 100_000
"""Rows that were learned from whose scores choose a threshold."""


@dataclass(frozen=True)
class FoldFolders:
    """What the steps before evaluation have made of one fold."""

    prepared: Path
    trained: Path


def find_champion(pipeline: Pipeline, folder: Path, finder: ChampionFinder | None) -> Path | None:
    """Return the champion's bundle folder; None: there is none to compare with.

    Raises:
        PipelineError: It is at a hub, and nobody can ask one.
    """
    asked = pipeline.model_evaluation.champion
    if asked is None:
        return None
    if asked.bundle:
        return folder / asked.bundle
    if finder is None:
        raise PipelineError(
            f"finding the champion {asked.model}: it is at the hub; run the pipeline by `shoal train`, or name the "
            "folder of its bundle in `model_evaluation.champion.bundle`"
        )
    return finder(asked.model)


def decided_by(pipeline: Pipeline, folder: Path, champion: Path | None) -> list[Any]:
    """Return what decides an evaluation besides the model and the rows, as JSON has it."""
    asked = pipeline.model_evaluation
    known = asked.model_dump(mode="json", exclude={"validation_scheme", "limits"})
    bundle = None if champion is None or not (champion / BUNDLE_FILE).is_file() else champion / BUNDLE_FILE
    return [
        known,
        [one.decided_by(folder) for one in asked.metrics],
        None if bundle is None else record_file(bundle).sha256,
        pipeline.seed,
    ]


def do_evaluate(rows: steps.Rows, of: FoldFolders, folder: Path, champion: Path | None) -> None:
    """Measure the written model on the rows that were held out, by all that is asked, and write what came of it."""
    pipeline, asked = rows.pipeline, rows.pipeline.model_evaluation
    held, wanted = _held(rows, of), _asked(rows, of)
    result = evaluate(held, wanted)
    metrics = wanted.metrics(held.task)
    if asked.champion is not None:
        result = result.model_copy(update=_compared(rows, of, held, champion, metrics))
    fairness = explained = None
    if asked.fairness is not None and held.truth is not None:
        fairness = assess(
            asked.fairness,
            held.table,
            held.truth,
            held.scores,
            held.labels,
            seed=pipeline.seed,
            resamples=asked.resamples,
        )
        (folder / FAIRNESS_FILE).write_text(fairness.model_dump_json(indent=2) + "\n")
    if asked.explanation.methods:
        about = steps.read_about(of.prepared)
        what = Explained(
            of.trained / steps.MODEL_FILE,
            SCORES,
            about.inputs,
            rows.inputs,
            steps.read_arrays(of.prepared / steps.HELD_FILE, about.inputs),
            held.truth,
            steps.read_arrays(of.prepared / steps.TRAIN_FILE, about.inputs),
        )
        explained = explain(what, asked.explanation, main_metric(held.task), pipeline.seed)
        (folder / EXPLANATION_FILE).write_text(explained.model_dump_json(indent=2) + "\n")
    (folder / EVALUATION_FILE).write_text(result.model_dump_json(indent=2) + "\n")


def do_measure(rows: steps.Rows, of: FoldFolders, folder: Path) -> None:
    """Measure the model of a further fold."""
    asked = _asked(rows, of)
    plain = Asked(custom=asked.custom, seed=asked.seed, resamples=0, threshold=asked.threshold)
    (folder / EVALUATION_FILE).write_text(evaluate(_held(rows, of), plain).model_dump_json(indent=2) + "\n")


def read_evaluated(pipeline: Pipeline, kept: Path, further: Sequence[Path]) -> Evaluated:
    """Read what the steps have written: of the fold whose model is kept, and of further ones."""
    result = EvaluationResult.model_validate_json((kept / EVALUATION_FILE).read_bytes())
    others = [json.loads((one / EVALUATION_FILE).read_text())["metrics"] for one in further]
    explanation, fairness = kept / EXPLANATION_FILE, kept / FAIRNESS_FILE
    scheme = pipeline.model_evaluation.validation_scheme
    given = ", ".join(f"{name} {value}" for name, value in scheme.model_dump(mode="json").items() if value is not None)
    return Evaluated(
        title=pipeline.name,
        validation=f"Validation by {scheme.kind}: {given}; {result.rows} rows held out",
        result=result,
        spread=_spread([result.metrics, *others]) if others else (),
        explained=ExplanationResult.model_validate_json(explanation.read_bytes()) if explanation.is_file() else None,
        fairness=FairnessResult.model_validate_json(fairness.read_bytes()) if fairness.is_file() else None,
    )


def write_page(found: Evaluated, folder: Path) -> Path:
    """Write the page of an evaluation into a folder."""
    path = folder / PAGE_FILE
    path.write_text(evaluation_page(found))
    return path


def check_evaluated(pipeline: Pipeline, found: Evaluated) -> tuple[str, ...]:
    """See that a model is fair enough, and holds its own beside the champion.

    Returns:
        What is to be warned of.

    Raises:
        LimitError: It does not.
    """
    asked, warnings = pipeline.model_evaluation, [*found.result.notes]
    if asked.fairness is not None and found.fairness is not None:
        failures = found.fairness.failures()
        if failures and asked.fairness.on_failure == "fail":
            told = "; ".join(failures)
            raise LimitError(
                f"assessing fairness: {told}. No bundle was made; look at the groups' rows, or set other limits"
            )
        warnings += [f"fairness: {one}" for one in failures]
        warnings += [f"fairness: {one}" for one in found.fairness.notes]
    if asked.champion is not None and found.result.champion is not None:
        one = found.result.champion
        if one.verdict not in ACCEPTED[asked.champion.required]:
            raise LimitError(f"{_told(one)}, and {asked.champion.required} is asked for. No bundle was made")
    return tuple(warnings)


def check_limits(result: EvaluationResult, limits: dict[str, float]) -> None:
    """See that a model reaches what is asked of it.

    Raises:
        LimitError: It does not, or what is asked was not measured.
    """
    measured = result.limited()
    falling = {one.name for one in result.figures if not one.is_rising}
    unknown = sorted(set(limits) - set(measured))
    if unknown:
        raise LimitError(f"evaluating: {', '.join(unknown)} was not measured; known are {', '.join(sorted(measured))}")
    missed = [
        f"{name} {measured[name]:.4g}, {'at most' if name in falling else 'at least'} {limit:g} expected"
        for name, limit in limits.items()
        if (measured[name] > limit if name in falling else measured[name] < limit)
    ]
    if missed:
        raise LimitError(f"evaluating: {'; '.join(missed)}. No bundle was made; train further, or lower the limit")


def _told(one: Comparison) -> str:
    return (
        f"comparing with {one.champion}: {one.metric} {one.value:.4g} beside {one.champion_value:.4g} on {one.rows} "
        f"rows, a difference of {one.difference:.4g} ({one.low} to {one.high}) is {one.verdict} at the margin "
        f"{one.margin:g}"
    )


def _held(rows: steps.Rows, of: FoldFolders) -> HeldOut:
    about = steps.read_about(of.prepared)
    arrays = steps.read_arrays(of.prepared / steps.HELD_FILE, about.inputs)
    [scores] = steps.run_graph(of.trained / steps.MODEL_FILE, arrays, SCORES)
    table = rows.table.take(np.load(of.prepared / steps.PLACES_FILE))
    truth = steps.read_truth(of.prepared / steps.HELD_FILE)
    return HeldOut(rows.pipeline.model_training.task, table, truth, scores, about.labels)


def _asked(rows: steps.Rows, of: FoldFolders) -> Asked:
    pipeline = rows.pipeline
    asked, threshold = pipeline.model_evaluation, pipeline.model_evaluation.threshold
    if threshold is None and pipeline.model_training.task == "anomaly":
        arrays = steps.read_arrays(of.prepared / steps.TRAIN_FILE, steps.read_about(of.prepared).inputs)
        some = {name: one[:_THRESHOLD_ROWS] for name, one in arrays.items()}
        [scores] = steps.run_graph(of.trained / steps.MODEL_FILE, some, SCORES)
        threshold = chosen_threshold(scores, asked.alarm_share)
    return Asked(
        custom=[one.metric(rows.folder) for one in asked.metrics],
        slices=asked.slices,
        seed=pipeline.seed,
        resamples=asked.resamples,
        threshold=threshold,
    )


def _compared(
    rows: steps.Rows, of: FoldFolders, held: HeldOut, champion: Path | None, metrics: Sequence[Metric]
) -> dict[str, Any]:
    """Return what stands in a result of the comparison; without a champion, that there is none."""
    asked = rows.pipeline.model_evaluation.champion
    if asked is None or champion is None:
        return {"notes": ("there is no champion yet, so nothing was compared",)}
    if held.truth is None:
        raise DataError("comparing with the champion: the rows have no answers; name a target, or leave `champion` out")
    wanted = asked.metric or main_metric(held.task).name
    metric = next((one for one in metrics if one.name == wanted), None)
    if metric is None:
        known = ", ".join(one.name for one in metrics)
        raise DataError(f"comparing with the champion: no metric is called {wanted}; known are {known}")
    arrays: dict[str, Array] = steps.read_arrays(of.prepared / steps.HELD_FILE, steps.read_about(of.prepared).inputs)
    before = champion_scores(champion, arrays, held.labels)
    resamples = rows.pipeline.model_evaluation.resamples
    seed = rows.pipeline.seed
    return {
        "champion": compare(
            metric, held.truth, before, held.scores, margin=asked.margin, seed=seed, resamples=resamples
        )
    }


def _spread(folds: Sequence[dict[str, float]]) -> tuple[FoldSpread, ...]:
    """Return mean and deviation of the metrics that all folds have."""
    shared = [name for name in folds[0] if all(name in one for one in folds)]
    values = {name: [one[name] for one in folds] for name in shared}
    return tuple(
        FoldSpread(name=name, mean=float(np.mean(found)), deviation=float(np.std(found, ddof=1)), values=tuple(found))
        for name, found in values.items()
    )
