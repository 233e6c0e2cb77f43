"""Turns, moves and roughens batches of grey images, vectorised over the batch."""

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.float32]


def warp(
    images: Images, angles_rad: npt.NDArray[np.float64], moves: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Turn each image about its centre and move it, bilinear, with black from outside.

    Args:
        images: (n, height, width) float32.
        angles_rad: (n,) float64.
        moves: (n, 2) float64, rows and columns in pixels.

    Returns:
        (n, height, width) float64.
    """
    _, height, width = images.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    dy = rows - (height - 1) / 2 - moves[:, 0, None, None]
    dx = columns - (width - 1) / 2 - moves[:, 1, None, None]
    cos, sin = np.cos(angles_rad)[:, None, None], np.sin(angles_rad)[:, None, None]
    source_row = cos * dy + sin * dx + (height - 1) / 2
    source_column = cos * dx - sin * dy + (width - 1) / 2
    top, left = np.floor(source_row).astype(int), np.floor(source_column).astype(int)
    down, right = source_row - top, source_column - left
    turned: npt.NDArray[np.float64] = (
        (1 - down) * (1 - right) * _pixels(images, top, left)
        + (1 - down) * right * _pixels(images, top, left + 1)
        + down * (1 - right) * _pixels(images, top + 1, left)
        + down * right * _pixels(images, top + 1, left + 1)
    )
    return turned


def _pixels(images: Images, rows: npt.NDArray[np.int_], columns: npt.NDArray[np.int_]) -> Images:
    _, height, width = images.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = np.arange(len(images))[:, None, None]
    values = images[index, rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, values, np.float32(0))


def add_noise(images: npt.NDArray[np.float64], noise_std: float, random: np.random.Generator) -> Images:
    """Add Gaussian noise to grey values of 0..1 and clip; the result is float32."""
    return np.clip(images + random.normal(0.0, noise_std, images.shape), 0.0, 1.0).astype(np.float32)
