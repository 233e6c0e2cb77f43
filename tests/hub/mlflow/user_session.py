"""What a user's own code does, with the stock client and nothing of the hub: prints what it saw as one line of JSON.

As a program: `python user_session.py FOLDER`, with a bundle in FOLDER/bundle and an ONNX file with samples in
FOLDER/onnx; the hub is where MLFLOW_TRACKING_URI says.
"""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

warnings.simplefilter("ignore")
FOLDER = Path(sys.argv[1])
CLIENT = MlflowClient()


def error_of(call: Callable[[], object]) -> str:
    """Return the code of the error that a call ends with."""
    try:
        call()
    except MlflowException as error:
        return str(error.error_code)
    return ""


def train() -> dict[str, Any]:
    """Log a run, and read back what it logged."""
    mlflow.set_experiment("colours by hand")
    with mlflow.start_run(run_name="first", tags={"team": "vision"}) as run:
        mlflow.log_params({"depth": 3, "rate": 0.1})
        for step in range(5):
            mlflow.log_metric("acc", 0.5 + step / 10, step=step)
        mlflow.log_metrics({"nan": float("nan"), "inf": float("inf")})
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_artifacts(str(FOLDER / "bundle"), "bundle")
        mlflow.log_artifacts(str(FOLDER / "onnx"), "onnx")
        mlflow.log_text("import this", "python/model.py")
        data = mlflow.data.from_numpy(np.zeros((3, 2)), name="zeros")  # type: ignore[attr-defined]
        mlflow.log_input(data, context="training")
    number = run.info.run_id
    got = CLIENT.get_run(number)
    assert got.inputs is not None
    where = "metrics.acc > 0.85 and params.depth = '3' and tags.team LIKE 'vis%' and attributes.status = 'FINISHED'"
    experiments = [got.info.experiment_id]
    return {
        "run": number,
        "uri": got.info.artifact_uri,
        "metrics": {name: str(value) for name, value in got.data.metrics.items()},
        "params": got.data.params,
        "status": got.info.status,
        "data": got.inputs.dataset_inputs[0].dataset.name,
        "history": [(one.step, round(one.value, 6)) for one in CLIENT.get_metric_history(number, "acc")],
        "files": [one.path for one in CLIENT.list_artifacts(number)],
        "in_folder": [(one.path, one.file_size) for one in CLIENT.list_artifacts(number, "notes")],
        "text": mlflow.artifacts.load_text(f"{got.info.artifact_uri}/notes/hello.txt"),
        "found": [one.info.run_id for one in CLIENT.search_runs(experiments, where, order_by=["metrics.acc DESC"])],
        "not_found": len(CLIENT.search_runs(experiments, "metrics.acc > 0.95")),
        "twice": error_of(lambda: CLIENT.log_param(number, "depth", 4)),
        "bad_filter": error_of(lambda: CLIENT.search_runs(experiments, "metrics.acc >")),
        "no_run": error_of(lambda: CLIENT.get_run("0" * 32)),
        "no_call": error_of(lambda: CLIENT.search_traces(experiment_ids=experiments)),
    }


def register(uri: str) -> dict[str, Any]:
    """Register what the run has logged, promote it, and fetch it by its alias."""
    versions = [mlflow.register_model(f"{uri}/{name}", "colours") for name in ("bundle", "onnx", "python")]
    CLIENT.set_registered_model_alias("colours", "champion", 2)
    CLIENT.set_model_version_tag("colours", "2", "reviewed", "yes")
    for number in (2, 3):
        CLIENT.transition_model_version_stage("colours", str(number), "Production")
    tagged = CLIENT.search_model_versions("name = 'colours' and tags.reviewed = 'yes'")
    champion = CLIENT.get_model_version_by_alias("colours", "champion")
    fetched = Path(mlflow.artifacts.download_artifacts("models:/colours@champion"))
    return {
        "versions": [(one.version, one.status, one.status_message) for one in versions],
        "tagged": [one.version for one in tagged],
        "champion": (champion.version, champion.tags, list(champion.aliases)),
        "stages": {one.version: one.current_stage for one in CLIENT.get_latest_versions("colours")},
        "fetched": sorted(path.name for path in fetched.iterdir()),
        "is_same": (fetched / "model.onnx").read_bytes() == (FOLDER / "onnx" / "model.onnx").read_bytes(),
        "models": [one.name for one in CLIENT.search_registered_models("name LIKE 'col%'")],
    }


def log_a_model() -> dict[str, Any]:
    """Log a model by its flavour, registered in the same call under a name that devices could not have."""
    example = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    with mlflow.start_run() as run:
        graph = onnx.load(FOLDER / "onnx" / "model.onnx")
        info = mlflow.onnx.log_model(graph, name="net", input_example=example, registered_model_name="My Colours")
    version = CLIENT.get_model_version("My Colours", "1")
    found = mlflow.search_logged_models(experiment_ids=[run.info.experiment_id], output_format="list")
    CLIENT.rename_registered_model("My Colours", "Our Colours")
    CLIENT.delete_model_version("Our Colours", "1")
    outputs = CLIENT.get_run(run.info.run_id).outputs
    assert outputs is not None
    return {
        "message": version.status_message,
        "is_of_the_run": version.run_id == run.info.run_id,
        "logged": [one.name for one in found if one.model_id == info.model_id],
        "outputs": [one.model_id == info.model_id for one in outputs.model_outputs],
        "deleted": error_of(lambda: CLIENT.get_model_version("Our Colours", "1")),
        "renamed": error_of(lambda: CLIENT.get_registered_model("My Colours")),
    }


def send_in_parts() -> dict[str, Any]:
    """Log a file in parts, and read it back."""
    content = np.random.default_rng(1).bytes(6 * 2**20)
    path = FOLDER / "large.bin"
    path.write_bytes(content)
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(path), "in/parts")
    fetched = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/in/parts/large.bin")
    CLIENT.delete_run(run.info.run_id)
    return {
        "is_same": Path(fetched).read_bytes() == content,
        "after": CLIENT.get_run(run.info.run_id).info.lifecycle_stage,
    }


def main() -> None:
    """Do it all."""
    trained = train()
    seen = {
        "trained": trained,
        "registered": register(trained["uri"]),
        "logged": log_a_model(),
        "parts": send_in_parts(),
    }
    sys.stdout.write("\n" + json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
