"""Run in an environment with the stock tritonclient: has models loaded and unloaded, and prints what it found.

Usage: python triton_control.py http|grpc HOST:PORT MODEL COMPOSITION
"""

import importlib
import json
import sys

import numpy as np
from tritonclient.utils import InferenceServerException


def main() -> None:
    """Unload and load, and ask between."""
    kind, address, model, composition = sys.argv[1:]
    triton = importlib.import_module(f"tritonclient.{kind}")
    client = triton.InferenceServerClient(address)

    def answers(name: str) -> str:
        tensor = triton.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
        try:
            return str(client.infer(name, [tensor]).as_numpy("probabilities").shape)
        except InferenceServerException as error:
            return error.message()

    def tried(name: str) -> str:
        try:
            client.unload_model(name)
        except InferenceServerException as error:
            return error.message()
        return ""

    found: dict[str, object] = {"before": [answers(model), answers(composition)], "composition": tried(composition)}
    client.unload_model(model)
    found["unloaded"] = [client.is_model_ready(model), answers(model), answers(composition)]
    found["index"] = index(client, kind)
    client.load_model(model)
    found["loaded"] = [client.is_model_ready(model), answers(model), answers(composition)]
    sys.stdout.write(json.dumps(found) + "\n")


def index(client: object, kind: str) -> dict[str, str]:
    """Return the state of each model."""
    if kind == "grpc":
        listed = client.get_model_repository_index(as_json=True)["models"]  # type: ignore[attr-defined]
    else:
        listed = client.get_model_repository_index()  # type: ignore[attr-defined]
    return {one["name"]: one["state"] for one in listed}


if __name__ == "__main__":
    main()
