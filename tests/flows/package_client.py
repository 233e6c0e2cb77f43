"""Run in an environment with the stock tritonclient: asks a device about the samples of docs/guides/real-models.md.

Usage: python package_client.py HOST:PORT FOLDER OUT.npz
"""

import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype


def main() -> None:
    client = triton.InferenceServerClient(sys.argv[1])
    folder = Path(sys.argv[2])
    samples = {
        name: dict(np.load(folder / f"{name}.npz"))
        for name in ("magika", "text-orientation", "text-detection", "voice-activity")
    }
    detection = samples["text-detection"]["x"]
    np.savez(
        sys.argv[3],
        magika=ask(client, "magika", {"bytes": samples["magika"]["bytes"]})["target_label"],
        orientation=next(iter(ask(client, "text-orientation", {"x": samples["text-orientation"]["x"]}).values())),
        detection=next(iter(ask(client, "text-detection", {"x": detection[:1]}).values())),
        speech=stream(client, samples["voice-activity"]),
    )


def ask(client: triton.InferenceServerClient, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs of one request."""
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensors.append(tensor.set_data_from_numpy(array))
    answer = client.infer(model, tensors)
    return {one["name"]: answer.as_numpy(one["name"]) for one in answer.get_response()["outputs"]}


def stream(client: triton.InferenceServerClient, samples: dict[str, np.ndarray]) -> list[float]:
    """Return the probability of speech in each chunk, handing the state back."""
    state, found = samples["state"], []
    for chunk in samples["input"]:
        answer = ask(client, "voice-activity", {"input": chunk, "state": state, "sr": samples["sr"]})
        state = answer["stateN"]
        found.append(float(answer["output"][0, 0]))
    return found


if __name__ == "__main__":
    main()
