"""Run in an environment with the stock tritonclient: asks an endpoint as its users do, and prints what it found.

Usage: python triton_client.py HOST:PORT
"""

import json
import sys
from collections.abc import Callable

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

KINDS = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]
ROWS = 3


def main() -> None:
    client = triton.InferenceServerClient(sys.argv[1])
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready("tiny"), client.is_model_ready("tiny", "1"), client.is_model_ready("no")],
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata("tiny"),
        "index": client.get_model_repository_index(),
        "echo": {kind: echo(client, kind) for kind in [*KINDS, "object"]},
        "tiny": tiny(client),
        "async": in_the_background(client),
        "compressed": [tiny(client, algorithm) for algorithm in ("gzip", "deflate")],
        "load": refused(lambda: client.load_model("tiny")),
        "unload": refused(lambda: client.unload_model("tiny")),
        "misfit": refused(lambda: ask(client, "tiny", "x", np.zeros((1, 5), np.float32), binary=True)),
    }
    found["statistics"] = client.get_inference_statistics("tiny")
    sys.stdout.write(json.dumps(found) + "\n")


def values(kind: str) -> np.ndarray:
    """Return a tensor of a type, with its extremes."""
    if kind == "object":
        return np.array([["a", "", "grüße"], ["\x00", "x" * 300, "1"]], dtype=np.object_)
    if kind == "bool":
        return np.array([[True, False, True], [False, False, True]])
    dtype = np.dtype(kind)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return np.array([[limits.min, 0, 1], [limits.max, 7, 5]], dtype=dtype)


def echo(client: triton.InferenceServerClient, kind: str) -> list[bool]:
    """Return for each way in and out whether the model that gives back what it gets did so."""
    sent, same = values(kind), []
    for binary_in in (True, False):
        for binary_out in (True, False):
            if kind == "float16" and not binary_in:
                continue  # the client refuses to write it as JSON
            answer = ask(client, f"echo-{kind}", "x", sent, binary=binary_in, binary_out=binary_out)
            got = answer.as_numpy("y")
            if kind == "object" and binary_out:
                got = np.array([one.decode() for one in got.ravel()], dtype=np.object_).reshape(got.shape)
            same.append(bool((got == sent).all()) and got.shape == sent.shape)
    return same


def ask(
    client: triton.InferenceServerClient,
    model: str,
    name: str,
    array: np.ndarray,
    *,
    binary: bool,
    binary_out: bool = True,
    **more: object,
) -> triton.InferResult:
    """Ask a model of one input and one output."""
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    output = "probabilities" if model == "tiny" else "y"
    wanted = [triton.InferRequestedOutput(output, binary_data=binary_out)]
    return client.infer(model, [tensor], outputs=wanted, **more)


def tiny(client: triton.InferenceServerClient, algorithm: str | None = None) -> list[list[float]]:
    array = np.linspace(-1, 1, ROWS * 4, dtype=np.float32).reshape(ROWS, 4)
    answer = ask(client, "tiny", "x", array, binary=True, request_compression_algorithm=algorithm, request_id="seven")
    assert answer.get_response()["id"] == "seven"
    return answer.as_numpy("probabilities").tolist()


def in_the_background(client: triton.InferenceServerClient) -> list[list[float]]:
    array = np.linspace(-1, 1, ROWS * 4, dtype=np.float32).reshape(ROWS, 4)
    tensor = triton.InferInput("x", [ROWS, 4], "FP32")
    tensor.set_data_from_numpy(array)
    return client.async_infer("tiny", [tensor]).get_result().as_numpy("probabilities").tolist()


def refused(action: Callable[[], object]) -> str:
    """Return the error that an action meets."""
    try:
        action()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return ""


if __name__ == "__main__":
    main()
