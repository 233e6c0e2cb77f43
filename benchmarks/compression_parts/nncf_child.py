"""Quantizes FOLDER/model.onnx with FOLDER/samples.npz into FOLDER/made.onnx, where NNCF is installed."""

import sys
from pathlib import Path

import nncf
import numpy as np
import onnx


def main(folder: Path) -> None:
    """Quantize with NNCF's defaults and all of the samples."""
    with np.load(folder / "samples.npz") as archive:
        feeds: dict[int, dict[str, np.ndarray]] = {}
        for key in archive:
            place, name = key.split("/", 1)
            feeds.setdefault(int(place), {})[name] = archive[key]
    model = onnx.load(folder / "model.onnx")
    dataset = nncf.Dataset([feeds[place] for place in sorted(feeds)])
    onnx.save(nncf.quantize(model, dataset, subset_size=len(feeds)), folder / "made.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
