"""Writes what a search came to: the best settings, all trials, and pictures of them."""

import warnings
from pathlib import Path
from typing import Any, Final

from shoal_training.errors import DataError
from shoal_training.evaluation.metric import Metric
from shoal_training.tuning.result import TUNING_FILE, TrialRecord, TuningResult
from shoal_training.tuning.settings import Setting
from shoal_training.tuning.study import REASON, Study

PICTURES: Final = ("tuning-history.svg", "tuning-importances.svg", "tuning-settings.svg")


def write_tuning(study: Study, metric: Metric, name: str, folder: Path) -> TuningResult:
    """Write `tuning.json` and the pictures.

    Raises:
        DataError: No trial was finished; why the first failed is told.
    """
    trials = tuple(_record(one) for one in study.study.get_trials(deepcopy=False) if one.state.is_finished())
    finished = [one for one in trials if one.state == "complete" and one.value is not None]
    if not finished:
        reason = next((one.reason for one in trials if one.reason), "there was no time")
        raise DataError(
            f"tuning: none of {len(trials)} trials was finished: {reason}; look at the space, or allow more minutes"
        )
    best = finished[0]
    for one in finished[1:]:
        if metric.is_better(one.value or 0.0, best.value or 0.0):
            best = one
    importances = _importances(study.study) if len(finished) > 1 else {}
    result = TuningResult(
        metric=metric.name,
        is_rising=metric.is_rising,
        value=best.value or 0.0,
        settings=best.settings,
        number=best.number,
        importances=importances,
        trials=trials,
        study=name,
        pictures=_draw(study.study, metric.name, folder, has_importances=bool(importances)),
    )
    (folder / TUNING_FILE).write_text(result.model_dump_json(indent=2) + "\n")
    return result


def _record(trial: Any) -> TrialRecord:  # noqa: ANN401 - Optuna's
    took = trial.duration
    settings: dict[str, Setting] = dict(trial.params)
    return TrialRecord(
        number=trial.number,
        state=trial.state.name.lower(),
        value=trial.value,
        settings=settings,
        seconds=None if took is None else round(took.total_seconds(), 3),
        reason=str(trial.user_attrs.get(REASON, "")),
    )


def _importances(study: Any) -> dict[str, float]:  # noqa: ANN401 - Optuna's
    """Return how much each setting explains; nothing where all trials have the same value."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return {name: float(value) for name, value in optuna.importance.get_param_importances(study).items()}
        except (ValueError, RuntimeError):  # of trials that tell nothing apart
            return {}


def _draw(study: Any, metric: str, folder: Path, *, has_importances: bool) -> tuple[str, ...]:  # noqa: ANN401 - Optuna's
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from optuna.visualization import matplotlib as optunas

    drawn = []
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": "shoal", "svg.fonttype": "none"}):
        warnings.simplefilter("ignore")
        wanted: list[tuple[str, Any]] = [(PICTURES[0], optunas.plot_optimization_history)]
        wanted.append((PICTURES[2], optunas.plot_parallel_coordinate))
        if has_importances:
            wanted.append((PICTURES[1], optunas.plot_param_importances))
        for name, draw in wanted:
            axes = draw(study, target_name=metric)
            figure = axes.figure
            figure.savefig(folder / name, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
            plt.close(figure)
            drawn.append(name)
    return tuple(sorted(drawn))
