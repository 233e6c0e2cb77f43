"""Makes the bundle of a new version from its parent's bundle and new weights, such as federated rounds return.

As a program: `python -m shoal_training --parent DIR --weights FILE --out DIR --author NAME`.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal_training.bundle import (
    CALIBRATION_FILE,
    KERAS_FILE,
    ONNX_FILE,
    TEST_FILE,
    WEIGHTS_FILE,
    Bundle,
    Parameter,
    new_folder,
    read_bundle,
    read_card,
    record_files,
    tool_versions,
    write_bundle,
    write_card,
)
from shoal_training.errors import BundleError
from shoal_training.progress import Progress, silent
from shoal_training.source_code import code_record
from shoal_training.tensorflow_runtime import load_keras
from shoal_training.version_files import onnx_accuracy, write_model_files
from shoal_training.weights import blend, read_weights, set_weights


def bundle_from_weights(
    parent_dir: Path,
    weights: Sequence[npt.NDArray[np.float32]],
    out_dir: Path,
    *,
    author: str,
    parent_share: float = 0.0,
    algorithm: str | None = None,
    parameters: Mapping[str, Parameter] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Sequence[str] = (),
    data_sha256: str | None = None,
    progress: Progress = silent,
) -> Bundle:
    """Write the bundle of a version that has the parent's layers, calibration and test data, and `weights`.

    Args:
        parent_dir: The parent's bundle.
        weights: float32 arrays in the order and shapes of the parent's `weights.safetensors`.
        out_dir: A new or empty folder.
        author: Who or what made this version.
        parent_share: Share (0..1) of the parent's weights in the new version's; see `blend`.
        algorithm: How; the parent's if None.
        parameters: Added to the parent's.
        metrics: Added to the `accuracy` that is measured here.
        tags: Of the new version alone.
        data_sha256: Fingerprint of the new training data; the parent's if None, as where data stays on devices.
        progress: Told after each file.

    Raises:
        BundleError: The parent is no whole bundle, or `out_dir` is not empty.
        WeightsError: The weights do not fit the model, or are not finite.
        ExportError: An exported form does not compute what the model computes.
    """
    parent = read_bundle(parent_dir)
    if parent.trainer is None:
        raise BundleError(
            f"making a version of new weights: the bundle {parent_dir} has no trainer; train one that has"
        )
    new_folder(out_dir)
    model = load_keras().models.load_model(parent_dir / KERAS_FILE, compile=False, safe_mode=True)
    set_weights(model, weights)  # checks them before anything is computed with them
    set_weights(model, blend(read_weights(parent_dir / WEIGHTS_FILE), weights, parent_share))
    for name in (CALIBRATION_FILE, TEST_FILE):
        shutil.copyfile(parent_dir / name, out_dir / name)
    card = read_card(parent_dir)
    if card is not None:
        # Its makers' words go on; figures on slices were measured on other weights.
        write_card(out_dir, card.model_copy(update={"metrics_by_slice": ()}))
    with np.load(out_dir / TEST_FILE) as test:
        x, y = test["x"], test["y"]
    write_model_files(model, out_dir, x, parent.trainer.batch_size, progress)
    bundle = parent.model_copy(
        update={
            "author": author,
            "algorithm": algorithm or parent.algorithm,
            "parameters": {**parent.parameters, "parent_share": parent_share, **(parameters or {})},
            "metrics": {"accuracy": onnx_accuracy(out_dir / ONNX_FILE, x, y), **(metrics or {})},
            "tags": tuple(tags),
            "data_sha256": data_sha256 or parent.data_sha256,
            "code": code_record(Path(__file__)),
            "tool_versions": tool_versions(),
            "files": record_files(out_dir),
        }
    )
    write_bundle(out_dir, bundle)
    return bundle
