"""Adds slightly turned, moved and noisy copies to the training data: a few hundred scans alone teach too little."""

import numpy as np

from shoal_training.digits.data import Split
from shoal_training.digits.images import add_noise, warp
from shoal_training.digits.settings import DigitsTraining


def augment(split: Split, seed: int, settings: DigitsTraining) -> Split:
    """Return the split followed by `settings.augmented_copies` varied copies of it."""
    random = np.random.default_rng(seed)
    x = np.concatenate([split.x] * settings.augmented_copies)[..., 0]
    angles_rad = np.deg2rad(random.uniform(-1, 1, len(x)) * settings.augment_angle_deg)
    moves = random.uniform(-1, 1, (len(x), 2)) * settings.augment_move_pixels
    varied = add_noise(warp(x, angles_rad, moves), settings.augment_noise_std, random)
    labels = np.tile(split.y, settings.augmented_copies + 1)
    return Split(np.concatenate([split.x, varied[..., None]]), labels)
