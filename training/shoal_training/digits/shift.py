"""Makes shifted digits: turned and noisy, as a camera sees them that has slipped in its mount."""

import numpy as np

from shoal_training.digits.images import Images, add_noise, warp
from shoal_training.digits.settings import DigitsShift
from shoal_training.errors import DataError


def shift(x: Images, seed: int, settings: DigitsShift | None = None) -> Images:
    """Turn each image by its own random angle and add noise.

    Args:
        x: (n, height, width, 1) float32 in 0..1.
        seed: Decides angles and noise.
        settings: Range of the angles and strength of the noise.

    Returns:
        New images of the shape of `x`, float32 in 0..1.

    Raises:
        DataError: `x` is not a batch of one-channel images.
    """
    if x.ndim != 4 or x.shape[-1] != 1:  # noqa: PLR2004  (batch, height, width, channel)
        raise DataError(f"shifting images: shape {x.shape} found, expected (n, height, width, 1)")
    settings = settings or DigitsShift()
    random = np.random.default_rng(seed)
    angles_rad = np.deg2rad(random.uniform(settings.min_angle_deg, settings.max_angle_deg, len(x)))
    turned = warp(x[..., 0], angles_rad, np.zeros((len(x), 2)))
    return add_noise(turned, settings.noise_std, random)[..., None]
