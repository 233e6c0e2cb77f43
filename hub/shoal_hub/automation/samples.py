"""Labelled samples that a candidate is trained or judged on: of a version's bundle, and those that devices have sent.

Where captured samples train as well, a third of them is kept out by its id, always the same: no sample does both.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session, col, select

from shoal_contract.manifest import TensorSpec
from shoal_hub.captures.kept import read_sample
from shoal_hub.captures.tables import CaptureRow
from shoal_hub.errors import ArtifactError, JobError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_numerics.tensors import NUMPY_TYPES

MAX_CAPTURED: Final = 20_000
"""The newest captured samples that are taken."""
_PARTS: Final = 3
_DAMAGED: Final = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile)


class Labelled(NamedTuple):
    """Samples by input, each (n, …), and their labels (n,) int64."""

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self.labels)


def is_held_out(capture_id: str) -> bool:
    """Whether a captured sample judges and never trains; a third of all."""
    return hashlib.sha256(capture_id.encode()).digest()[0] % _PARTS == 0


def read_labelled(path: Path, inputs: Sequence[TensorSpec]) -> Labelled | None:
    """Read samples out of an `.npz`: by input, or `x` where there is one, and `y`; None if they have no labels.

    Raises:
        JobError: It can not be read, or its arrays are of different lengths.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "y" not in archive:
                return None
            arrays = {one.name: archive[one.name if one.name in archive else "x"] for one in inputs}
            labels = archive["y"]
    except _DAMAGED as error:
        raise JobError(f"reading {path.name}: {error}", "register a bundle whose data can be read") from error
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or any(len(one) != len(labels) for one in arrays.values()):
        return None
    typed = {one.name: arrays[one.name].astype(NUMPY_TYPES[one.datatype]) for one in inputs}
    return Labelled(typed, labels.astype(np.int64))


def captured_samples(
    session: Session,
    store: ArtifactStore,
    model: str,
    inputs: Sequence[TensorSpec],
    *,
    since: datetime,
    classes: int,
    held_out: bool | None,
) -> Labelled:
    """Return captured samples with a true label that fit a model.

    Args:
        session: An open session.
        store: Where their bytes are.
        model: The model.
        inputs: Its inputs; samples lie along the first axis.
        since: Those that were taken later than this, by the devices' clocks.
        classes: Labels that it knows.
        held_out: Only those that judge, only those that train; None: all.
    """
    wanted = (
        select(CaptureRow)
        .where(
            CaptureRow.model == model,
            col(CaptureRow.true_label).is_not(None),
            col(CaptureRow.at) >= since,  # when it was taken: devices send what they have kept, the oldest first
        )
        .order_by(col(CaptureRow.at).desc(), col(CaptureRow.id))
        .limit(MAX_CAPTURED)
    )
    arrays: dict[str, list[NDArray[Any]]] = {one.name: [] for one in inputs}
    labels: list[int] = []
    for row in session.exec(wanted).all():
        if held_out is not None and is_held_out(row.id) != held_out:
            continue
        label = row.true_label
        if label is None or not 0 <= label < classes:
            continue
        found = _read(store, row, inputs)
        if found is not None:
            labels.append(label)
            for name, array in found.items():
                arrays[name].append(array)
    stacked = {
        one.name: np.concatenate(arrays[one.name]) if labels else np.empty((0, *one.shape[1:]), dtype=np.float32)
        for one in inputs
    }
    return Labelled(stacked, np.asarray(labels, dtype=np.int64))


def _read(store: ArtifactStore, row: CaptureRow, inputs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]] | None:
    """Return a captured sample as one row of each input; None where it is lost, or of another form by now."""
    try:
        with np.load(io.BytesIO(read_sample(store, row)), allow_pickle=False) as archive:
            return {
                one.name: archive[one.name].reshape((1, *one.shape[1:])).astype(NUMPY_TYPES[one.datatype])
                for one in inputs
            }
    except (ArtifactError, *_DAMAGED):
        return None
