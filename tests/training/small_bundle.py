"""One small trained bundle for all tests of a run, whichever of xdist's workers asks for it first."""

import fcntl
from pathlib import Path

import pytest

from shoal_training.bundle import BUNDLE_FILE
from shoal_training.digits import DigitsTraining, train_digits

SEED = 3
SETTINGS = DigitsTraining(epochs=4, augmented_copies=2)


def small_bundle(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Train for a few epochs, or return what another worker trained."""
    base = tmp_path_factory.getbasetemp()
    root = base if worker_id == "master" else base.parent  # what xdist's workers share
    folder = root / "small-bundle"
    with (root / "small-bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / BUNDLE_FILE).exists():
            train_digits(folder, SEED, settings=SETTINGS)
    return folder
