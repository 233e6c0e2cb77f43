"""Embeds samples of any size in 64 cosines, whose sums tell whether two sets of samples are alike.

Random Fourier features (Rahimi and Recht, Random Features for Large-Scale Kernel Machines, NIPS 2007) of a random
projection to 32 numbers: the distance of two means of them estimates the maximum mean discrepancy under a Gaussian
kernel. The projection is a sketch by random signs (Charikar, Chen and Farach-Colton, 2002), one addition a value, which
keeps distances on average. Hub and device make the same features of a seed; sums are in fixed point and merge exactly.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_contract.embedding import EMBEDDING_FEATURES, EMBEDDING_ONE, EmbeddingBaseline, EmbeddingSums
from shoal_numerics.errors import EmbeddingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROJECTED: Final = 32
"""Numbers that a sample is projected to."""
MAX_VALUES: Final = 262_144
"""Values of a sample that are looked at; of a larger one every second, third and so on: signs take 1 MiB at most."""
_ROWS_AT_ONCE: Final = 64
_PAIRS: Final = 2048
_WORD_BYTES: Final = 4
_WORDS: Final = 2**32
_LARGEST: Final = 1e30
"""Beyond it a value is taken for this one; NaN for 0: the missing are counted elsewhere."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """The features of one version: stateless but for the signs, which are kept.

    Attributes:
        seed: makes the random numbers.
        scale: the kernel's width, in the units of the projection.
    """

    seed: int
    scale: float
    _weights: NDArray[np.float32] = field(init=False, repr=False)
    _phases: NDArray[np.float32] = field(init=False, repr=False)
    _signs: list[NDArray[np.float32]] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        """Make the frequencies and phases.

        Raises:
            EmbeddingError: the scale is not positive.
        """
        if not (np.isfinite(self.scale) and self.scale > 0):
            message = f"Making an embedding: the scale is {self.scale}, expected a number above 0."
            raise EmbeddingError(message)
        normal = _normals(self.seed, PROJECTED * EMBEDDING_FEATURES).reshape(PROJECTED, EMBEDDING_FEATURES)
        object.__setattr__(self, "_weights", (normal / self.scale).astype(np.float32))
        phases = 2 * np.pi * _uniforms(f"phases {self.seed}", EMBEDDING_FEATURES)
        object.__setattr__(self, "_phases", phases.astype(np.float32))

    @classmethod
    def of(cls, baseline: EmbeddingBaseline) -> Embedding:
        """Return the embedding that a baseline names."""
        return cls(baseline.seed, baseline.scale)

    @classmethod
    def fitted(cls, rows: NDArray[np.float32], seed: int) -> Embedding:
        """Choose the scale by samples of the reference: the median distance of two of them, 2,048 pairs by the seed.

        Args:
            rows: (n, values) float32, at least one row.
            seed: makes the random numbers.
        """
        projected = cls(seed, 1.0).project(rows)
        picks = (_uniforms(f"pairs {seed}", 2 * _PAIRS) * len(rows)).astype(np.int64).reshape(2, _PAIRS)
        with np.errstate(over="ignore", invalid="ignore"):
            gaps = projected[picks[0]] - projected[picks[1]]
            distances = np.sqrt(np.einsum("ij,ij->i", gaps, gaps, dtype=np.float64))
        apart = distances[distances > 0]
        scale = float(np.median(apart)) if len(apart) else 1.0
        return cls(seed, scale if np.isfinite(scale) and scale > 0 else 1.0)

    def project(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, 32) float32: sums of the values under random signs, over the root of their number.

        Args:
            rows: (n, values) float32, at least one value a row.
        """
        step = -(-rows.shape[1] // MAX_VALUES)
        taken = rows[:, ::step]
        values = taken.shape[1]
        signs = self._signs_of(values)
        padded = np.zeros((min(len(rows), _ROWS_AT_ONCE), signs.shape[0]), dtype=np.float32)
        projected = np.empty((len(rows), PROJECTED), dtype=np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = taken[start : start + _ROWS_AT_ONCE]
            signed = padded[: len(part)]
            np.multiply(_finite(part), signs[:values], out=signed[:, :values])
            with np.errstate(over="ignore", invalid="ignore"):
                projected[start : start + len(part)] = signed.reshape(len(part), -1, PROJECTED).sum(axis=1)
        projected /= np.float32(np.sqrt(values))
        return projected

    def features(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the cosines of samples in fixed point.

        Those of a sample are the same in whatever company; machines whose cosine rounds otherwise may differ by one
        unit, 1/32,768.

        Args:
            rows: (n, values) float32, at least one value a row.

        Returns:
            (n, 64) int64, -32,768 to 32,768.
        """
        return self.cosines(self.project(rows))

    def cosines(self, projected: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the features of samples that have been projected, see `features`.

        Args:
            projected: (n, 32) float32.
        """
        angles = np.tile(self._phases, (len(projected), 1))
        with np.errstate(over="ignore", invalid="ignore"):
            # One product after the other, where a matrix product would add in an order of the machine's own.
            for column, weights in zip(projected.T, self._weights, strict=True):
                angles += column[:, np.newaxis] * weights
            cosines = np.cos(np.nan_to_num(angles, nan=0.0, posinf=0.0, neginf=0.0))
        fixed: NDArray[np.int64] = np.rint(cosines * np.float32(EMBEDDING_ONE)).astype(np.int64)
        return fixed

    def sums(self, rows: NDArray[np.float32]) -> EmbeddingSums:
        """Return the sums of the features of samples and of their squares.

        Args:
            rows: (n, values) float32, at least one value a row.
        """
        total, squares = np.zeros((2, EMBEDDING_FEATURES), dtype=np.int64)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            found = self.features(rows[start : start + _ROWS_AT_ONCE])
            total += found.sum(axis=0)
            squares += (found * found).sum(axis=0)
        return EmbeddingSums(samples=len(rows), sums=tuple(total.tolist()), squares=tuple(squares.tolist()))

    def _signs_of(self, values: int) -> NDArray[np.float32]:
        """Return (values, made a multiple of 32) float32 of ±1: the first of those of the largest size so far."""
        size = -(-values // PROJECTED) * PROJECTED
        if not self._signs or len(self._signs[0]) < size:
            bits = np.frombuffer(hashlib.shake_128(f"signs {self.seed}".encode()).digest(size // 8), dtype=np.uint8)
            self._signs[:] = [1.0 - 2.0 * np.unpackbits(bits).astype(np.float32)]
        return self._signs[0][:size]


def _finite(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows with numbers in place of NaN and infinities; they themselves where they have none."""
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(rows.sum())  # one pass; a sum beyond float32 only takes the longer way
    return rows if is_finite else np.nan_to_num(rows, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)


def merge_sums(first: EmbeddingSums, second: EmbeddingSums) -> EmbeddingSums:
    """Return the sums of the samples of both: exact, commutative and associative.

    Raises:
        EmbeddingError: they are of other numbers of features.
    """
    if len(first.sums) != len(second.sums):
        message = f"Merging embeddings: found {len(first.sums)} and {len(second.sums)} features, expected as many."
        raise EmbeddingError(message)
    return EmbeddingSums(
        samples=first.samples + second.samples,
        sums=tuple(one + other for one, other in zip(first.sums, second.sums, strict=True)),
        squares=tuple(one + other for one, other in zip(first.squares, second.squares, strict=True)),
    )


def _uniforms(name: str, count: int) -> NDArray[np.float64]:
    """Return numbers from 0 to below 1, of 32 bits of SHAKE-128 (FIPS 202) each: the same on every machine."""
    stream = hashlib.shake_128(f"embedding {name}".encode()).digest(count * _WORD_BYTES)
    return np.frombuffer(stream, dtype="<u4") / _WORDS


def _normals(seed: int, count: int) -> NDArray[np.float64]:
    """Return standard normal numbers (Box and Muller, 1958); `count` is even."""
    radius, angle = _uniforms(f"weights {seed}", count).reshape(2, -1)
    lengths = np.sqrt(-2.0 * np.log(1.0 - radius))
    return np.concatenate([lengths * np.cos(2 * np.pi * angle), lengths * np.sin(2 * np.pi * angle)])
