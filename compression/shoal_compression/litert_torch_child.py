"""Runs in the environment of litert-torch, which has nothing of Shoal: reads a `.pt2`, writes a `.tflite`.

Called with the two paths and, for each input, its datatype and sizes as `float32:1,3,8,8`.
"""

import sys


def main(program: str, out: str, inputs: list[str]) -> None:
    """Convert the program, with its inputs of just these sizes."""
    import litert_torch  # type: ignore[import-not-found]  # it is in the other environment alone
    import torch

    samples = []
    for text in inputs:
        kind, _, sizes = text.partition(":")
        shape = [int(size) for size in sizes.split(",") if size]
        samples.append(torch.zeros(shape, dtype=getattr(torch, kind)))
    module = torch.export.load(program).module(check_guards=False)
    litert_torch.signature("serving_default", module, tuple(samples)).convert().export(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
