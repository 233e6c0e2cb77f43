"""Runs as MLflow's messages have them."""

from collections.abc import Sequence

from sqlmodel import Session

from shoal_hub.mlflow.wire import Json, metric, pairs
from shoal_hub.tracking.inputs import DatasetInput, datasets_of, models_of
from shoal_hub.tracking.tables import TrackedRun
from shoal_hub.tracking.tags import tags_of
from shoal_hub.tracking.values import latest_of, params_of


def run_info(row: TrackedRun) -> Json:
    """Return what is said of a run as such; without an end where it has none."""
    return {
        "run_id": row.id,
        "run_uuid": row.id,
        "run_name": row.name,
        "experiment_id": row.experiment,
        "user_id": row.user_name,
        "status": row.status,
        "start_time": row.started_ms,
        "artifact_uri": row.artifact_uri,
        "lifecycle_stage": row.lifecycle,
    } | ({} if row.ended_ms is None else {"end_time": row.ended_ms})


def shown_runs(session: Session, rows: Sequence[TrackedRun]) -> list[Json]:
    """Return runs with all that they logged, of each metric the last value."""
    ids = [row.id for row in rows]
    metrics, params, tags = latest_of(session, ids), params_of(session, ids), tags_of(session, "run", ids)
    datasets, models = datasets_of(session, ids), models_of(session, ids)
    return [
        {
            "info": run_info(row),
            "data": {
                "metrics": [metric(one) for one in metrics[row.id]],
                "params": pairs(params[row.id]),
                "tags": pairs(tags[row.id]),
            },
            "inputs": {
                "dataset_inputs": [_dataset(one) for one in datasets[row.id]],
                "model_inputs": [{"model_id": one.model} for one in models[row.id] if one.kind == "model_input"],
            },
            "outputs": {
                "model_outputs": [
                    {"model_id": one.model, "step": one.step} for one in models[row.id] if one.kind == "model_output"
                ],
            },
        }
        for row in rows
    ]


def _dataset(one: DatasetInput) -> Json:
    described = {"name": one.name, "digest": one.digest, "source_type": one.source_type, "source": one.source}
    more = {"schema": one.schema_text, "profile": one.profile}
    tags = {"mlflow.data.context": one.context} if one.context else {}
    return {"tags": pairs(tags), "dataset": described | {name: text for name, text in more.items() if text}}
