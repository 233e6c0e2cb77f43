"""One client of the comparison: sends a file by MLflow's own client and fetches it again; prints what each took.

As a program: `python client.py FILE FOLDER`, with MLFLOW_TRACKING_URI and the rest of its settings in the environment.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import mlflow


def main() -> None:
    """Send, fetch, compare."""
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with mlflow.start_run() as run:
        began_s = time.perf_counter()
        mlflow.log_artifact(str(path), "large")
        up_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    fetched = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/large/{path.name}", dst_path=str(folder))
    down_s = time.perf_counter() - began_s
    assert _sha256(Path(fetched)) == _sha256(path), "what came back is another file"
    Path(fetched).unlink()
    sys.stdout.write(json.dumps({"up_s": up_s, "down_s": down_s}) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
