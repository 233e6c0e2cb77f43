"""Run in an environment with the stock tritonclient: asks an endpoint over gRPC, and prints what it found as JSON.

Usage: python triton_grpc_client.py HOST:PORT
"""

import json
import sys

import numpy as np
import tritonclient.grpc as triton
from triton_client import KINDS, ROWS, refused, values
from tritonclient.utils import np_to_triton_dtype


def main() -> None:
    """Ask, and print."""
    client = triton.InferenceServerClient(sys.argv[1])
    metadata = client.get_model_metadata("tiny", as_json=True)
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready("tiny"), client.is_model_ready("tiny", "1"), client.is_model_ready("no")],
        "server": client.get_server_metadata(as_json=True)["name"],
        "model": [metadata["name"], metadata["inputs"]],
        "index": client.get_model_repository_index(as_json=True)["models"],
        "echo": {kind: bool((ask(client, f"echo-{kind}", values(kind)) == values(kind)).all()) for kind in KINDS},
        "echo_object": [one.decode() for one in ask(client, "echo-object", values("object")).ravel()],
        "tiny": ask(client, "tiny", np.linspace(-1, 1, ROWS * 4, dtype=np.float32).reshape(ROWS, 4)).tolist(),
        "misfit": refused(lambda: ask(client, "tiny", np.zeros((1, 5), np.float32))),
        "unknown": refused(lambda: ask(client, "none", np.zeros((1, 5), np.float32))),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def ask(client: triton.InferenceServerClient, model: str, array: np.ndarray) -> np.ndarray:
    """Ask a model of one input and one output."""
    tensor = triton.InferInput("x", list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    answer = client.infer(model, [tensor], request_id="seven")
    assert answer.get_response().id == "seven"
    return answer.as_numpy("probabilities" if model == "tiny" else "y")


if __name__ == "__main__":
    main()
