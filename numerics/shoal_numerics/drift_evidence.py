"""Has the data ever moved by more than is tolerated? Evidence that may be looked at after every window, for ever.

The hypothesis is a distance, not a point: that each watched share (`watched_shares`) is, whatever came before, within
a tolerance of the reference's, whose own error of sampling is added. Against it, each share is bet on in both
directions by likelihood ratios of binomials, tempered by how much windows vary beyond what independent values would;
bets of several sizes begin at several times. Their weighted mean is an e-process: it ever reaches 1 / alpha with
probability at most alpha. Sources: Wald 1945; Shafer, JRSS A 184, 2021 (bets as tests); Ramdas, Gruenwald, Vovk and
Shafer, Statistical Science 38, 2023; `e_values` for starts and for many features at once.

What it leans on: that the variation of windows is seen by comparing neighbours, which holds while what makes them vary
forgets within some `_LAG` windows. A cycle slower than that, of more than the tolerance, is drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_numerics.e_values import start_weight
from shoal_numerics.errors import DriftError
from shoal_numerics.histogram import Histogram
from shoal_numerics.watched_shares import Shares, WatchedShares

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAKES = (0.05, 0.2, 0.6)
"""What is bet on: that a share lies above its bound by so much of what is left up to 1."""

MAX_TOLERANCE = 0.5
MAX_REFERENCE_Z = 10
MAX_WARM_UP_WINDOWS = 10_000
_LAG = 8
"""Windows apart that are taken for independent of each other, and from one start of bets to the next."""
MIN_WARM_UP_WINDOWS = 2 * _LAG
_LEARN_EVERY = 16
"""Windows after which what was learned is looked at again. It is bet by another so many later: a shift that has just
come must not pass for variation."""
_LEARNED_ALWAYS = 10
"""Arrays of evidence that is not recentred; others hold what it is recentred to."""
_LARGER = 2.0
"""Times the mean size of windows up to which the size of one counts."""
_LEAST_VARIANCE = 0.01
"""Below which the variance of a share is not used to learn how much windows vary."""
_LEAST_WEIGHT = 0.05
"""Of a share in its feature's mean, before they are made to sum to 1: of one that hardly varies in the reference."""
_TOO_SURE = 4.0
"""Standard errors by which what windows vary by is taken for more than was learned, so long as few are known."""
_LARGEST = 1e12
"""Of a bet: more than a million features need, and gone the sooner when the data comes back."""
_MUCH = 100.0
"""E-value from which on it is looked at whether the data has come back."""
_MOST_NATS = 3.0
"""By which one window may multiply a bet: one whose values all hang together, as when a client repeats itself, must not
decide alone."""


@dataclass(frozen=True)
class EvidenceSettings:
    """What is tolerated, and what is learned before the first bet.

    Attributes:
        tolerance: difference of a share from the reference's that is no drift, above 0 and below 0.5.
        reference_z: standard errors of the reference's share that are added to it, 0 or more.
        warm_up_windows: windows of a feature before bets on it begin, at least 16: its variation is learned in them.
        is_recentred: whether the shares are held against those of the warm-up, instead of against the reference's.
    """

    tolerance: float = 0.05
    reference_z: float = 3.5
    warm_up_windows: int = 32
    is_recentred: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            DriftError: a setting out of its range.
        """
        is_in_range = 0 < self.tolerance < MAX_TOLERANCE and 0 <= self.reference_z <= MAX_REFERENCE_Z
        if not (is_in_range and MIN_WARM_UP_WINDOWS <= self.warm_up_windows <= MAX_WARM_UP_WINDOWS):
            message = f"Setting drift evidence: {self} is out of range, see its attributes."
            raise DriftError(message)


class DriftEvidence:
    """The evidence against each feature of one stream of windows. Not safe for concurrent `add`.

    Memory is constant, see `nbytes`: about 1.4 KB a feature with six shares.

    Args:
        watched: the shares and what they were in the reference.
        settings: what is tolerated.
    """

    def __init__(self, watched: WatchedShares, settings: EvidenceSettings | None = None) -> None:
        self._watched = watched
        self._settings = settings or EvidenceSettings()
        count = len(watched.feature)
        self._capital = np.zeros((2, len(STAKES), count), dtype=np.float32)
        self._recent = np.full((_LAG, count), np.nan, dtype=np.float32)
        self._sizes = np.zeros((_LAG, count), dtype=np.uint32)
        self._size_sum = np.zeros(count)
        self._pools = 2 * watched.features
        self._pool = 2 * watched.feature + watched.is_missing
        weight = np.maximum(watched.expected * (1 - watched.expected), _LEAST_WEIGHT)
        self._weight = weight / np.bincount(watched.feature, weight, watched.features)[watched.feature]
        self._variation = np.zeros((2, self._pools))
        self._pairs = np.zeros((2, self._pools))
        self._inflation = np.ones(self._pools)
        self._next_inflation = np.ones(self._pools)
        self._warm_sum = np.zeros(count)
        self._warm_size = np.zeros(count)
        self.windows = 0
        self._expected = watched.expected
        self._odds = self._odds_against(self._expected, watched.reference_size, np.ones(count))

    @property
    def settings(self) -> EvidenceSettings:
        """What is tolerated."""
        return self._settings

    def dump(self) -> bytes:
        """Return all that was learned and bet, for `load`: about 130 bytes a share, 180 where shares are recentred."""
        arrays = [np.ascontiguousarray(one, dtype=one.dtype.newbyteorder("<")) for one in self._state()]
        return self.windows.to_bytes(8, "little") + b"".join(one.tobytes() for one in arrays)

    @classmethod
    def load(cls, watched: WatchedShares, settings: EvidenceSettings, state: bytes) -> DriftEvidence:
        """Return the evidence that `dump` has written, of the same shares and settings.

        Raises:
            DriftError: it is of other shares or settings, or holds numbers that no evidence has.
        """
        evidence = cls(watched, settings)
        evidence.windows = int.from_bytes(state[:8], "little")
        if evidence.windows > settings.warm_up_windows and settings.is_recentred:
            evidence._recentre()  # so that there are arrays of its own to fill
        arrays = evidence._state()
        if len(state) != 8 + sum(one.nbytes for one in arrays):
            message = (
                f"Reading drift evidence: {len(state)} bytes found, {8 + sum(one.nbytes for one in arrays)} expected."
            )
            raise DriftError(message)
        start = 8
        for one in arrays:
            found = np.frombuffer(state, one.dtype.newbyteorder("<"), one.size, start)
            one[...] = found.reshape(one.shape)
            start += one.nbytes
        evidence._check_state()
        return evidence

    def _state(self) -> list[NDArray[Any]]:
        arrays: list[NDArray[Any]] = [
            self._capital, self._recent, self._sizes, self._size_sum, self._variation, self._pairs,
            self._inflation, self._next_inflation, self._warm_sum, self._warm_size,
        ]  # fmt: skip
        if self._settings.is_recentred and self.windows > self._settings.warm_up_windows:
            arrays += [self._expected, *(array for pair in self._odds for array in pair)]
        return arrays

    def _check_state(self) -> None:
        """Raise DriftError unless the numbers can be those of evidence."""
        sums: tuple[NDArray[np.float64], ...] = (
            self._size_sum,
            self._variation,
            self._pairs,
            self._warm_sum,
            self._warm_size,
        )
        is_bad = not all(np.isfinite(one).all() and (one >= 0).all() for one in sums)
        is_bad |= not ((self._capital >= 0) & (self._capital <= _LARGEST)).all()
        inflations: tuple[NDArray[np.float64], ...] = (self._inflation, self._next_inflation)
        is_bad |= not all((np.isfinite(one) & (one >= 1)).all() for one in inflations)
        is_bad |= bool(((self._recent < 0) | (self._recent > 1)).any())  # NaN: no window, or none of this share
        learned = self._state()[_LEARNED_ALWAYS:]
        is_bad |= not all(np.isfinite(one).all() for one in learned)
        if is_bad:
            message = "Reading drift evidence: it holds numbers that no evidence has."
            raise DriftError(message)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, those of the watched shares among them."""
        odds = [array for pair in self._odds for array in pair]
        held = [*vars(self).values(), *vars(self._watched).values(), *odds]
        return sum(array.nbytes for array in {id(one): one for one in held if isinstance(one, np.ndarray)}.values())

    def add(self, window: Histogram) -> None:
        """Take the next window, counted over the reference's edges; one without rows says nothing."""
        if window.row_count:
            self.add_shares(self._watched.shares_of(window))

    def add_shares(self, shares: Shares) -> None:
        """Take the shares of the next window, see `WatchedShares`."""
        self.windows += 1
        warm_up = self._settings.warm_up_windows
        if self.windows <= warm_up:
            self._warm_sum += np.nan_to_num(shares.share) * shares.size
            self._warm_size += shares.size
        else:
            if self.windows == warm_up + 1 and self._settings.is_recentred:
                self._recentre()
            self._bet(shares)
        self._learn(shares)
        self._forget()
        if self.windows >= warm_up and (self.windows - warm_up) % _LEARN_EVERY == 0:
            learned = self._learned()
            self._inflation = self._next_inflation if self.windows > warm_up else learned
            self._next_inflation = learned

    def values(self) -> NDArray[np.float64]:
        """Return the e-value of each feature now, (features,) float64; 0 until bets have begun."""
        mean = self._capital.mean(axis=(0, 1), dtype=np.float64)
        return np.bincount(self._watched.feature, mean * self._weight, self._watched.features).astype(np.float64)

    def _bet(self, shares: Shares) -> None:
        since = self.windows - self._settings.warm_up_windows - 1
        if since % _LAG == 0:
            self._capital += np.float32(start_weight(since // _LAG + 1))
        is_seen = shares.size > 0
        share = np.where(is_seen, shares.share, 0.0)
        # What windows vary together by grows with their size: a larger one than those learned from counts no more.
        usual = _LARGER * self._size_sum / (self.windows - 1)
        size = np.minimum(shares.size, usual)
        weight = np.where(is_seen, size / self._inflation[self._pool], 0.0).astype(np.float32)
        for capital, (won, lost), seen in zip(self._capital, self._odds, (share, 1 - share), strict=True):
            nats = (lost + seen.astype(np.float32) * (won - lost)) * weight
            np.multiply(capital, np.exp(np.minimum(nats, _MOST_NATS)), out=capital)
        np.minimum(self._capital, _LARGEST, out=self._capital)

    def _forget(self) -> None:
        """Halve what is held against a feature whose last windows look like the reference: less is always allowed.

        Bets on small shifts would take hundreds of windows to lose what they have won.
        """
        is_held = self.values() >= _MUCH
        if not is_held.any():
            return
        sizes = np.where(np.isnan(self._recent), 0, self._sizes)
        share = np.nansum(self._recent * sizes, axis=0) / np.maximum(sizes.sum(axis=0), 1)
        gap = share - self._expected
        is_away = np.where(self._watched.is_missing, gap, np.abs(gap)) > self._settings.tolerance
        is_back = np.bincount(self._watched.feature, is_away, self._watched.features) == 0
        self._capital *= np.where(is_held & is_back, 0.5, 1.0).astype(np.float32)[self._watched.feature]

    def _odds_against(
        self, expected: NDArray[np.float64], size: NDArray[Any], inflation: NDArray[np.float64]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return what a value that counts wins and one that does not loses, in nats: upwards, then downwards."""
        error = np.sqrt(expected * (1 - expected) * inflation / np.maximum(size, 1))
        margin = self._settings.tolerance + self._settings.reference_z * error
        downwards = np.where(self._watched.is_missing, 1.0, 1 - expected + margin)  # fewer missing values harm nobody
        odds = []
        for bound in (expected + margin, downwards):
            room = np.clip(1 - bound, 0.0, None)
            rest = np.outer(1 - np.array(STAKES), room)
            with np.errstate(divide="ignore", invalid="ignore"):
                won = np.where(room > 0, np.log((1 - rest) / (1 - room)), 0.0)
                lost = np.where(room > 0, np.log(rest / room), 0.0)
            odds.append((won.astype(np.float32), lost.astype(np.float32)))
        return odds

    def _recentre(self) -> None:
        seen = self._warm_size > 0
        self._expected = np.where(seen, self._warm_sum / np.maximum(self._warm_size, 1), self._watched.expected)
        size = np.where(seen, self._warm_size, self._watched.reference_size)
        self._odds = self._odds_against(self._expected, size, self._inflation[self._pool])

    def _learn(self, shares: Shares) -> None:
        """Learn how far windows differ that are one and `_LAG` apart, in units of independent values' variance."""
        expected = self._expected
        variance = np.maximum(expected * (1 - expected), _LEAST_VARIANCE)
        slot = (self.windows - 1) % _LAG
        for row, other in enumerate(((slot - 1) % _LAG, slot)):
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = variance * (1 / shares.size + 1 / self._sizes[other])
                found = (shares.share - self._recent[other]) ** 2 / scale
            is_known = np.isfinite(found)
            self._variation[row] += np.bincount(self._pool, np.where(is_known, found, 0.0), self._pools)
            self._pairs[row] += np.bincount(self._pool, is_known, self._pools)
        self._recent[slot], self._sizes[slot] = shares.share, shares.size
        self._size_sum += shares.size

    def _learned(self) -> NDArray[np.float64]:
        """Return by how much sums over windows vary more than independent values would, at least 1; (pools,) float64.

        Of an autoregression that is (1 + rho) / (1 - rho) times the variance of windows far apart.
        """
        near, far = self._variation / np.maximum(self._pairs, 1)
        far = np.maximum(near, far)
        rho = np.clip(1 - near / np.maximum(far, 1e-12), 0.0, 0.95)
        unsure = _TOO_SURE / np.sqrt(max(self.windows - _LAG, 1))
        inflation: NDArray[np.float64] = np.maximum(1.0, (1 + unsure) * far * (1 + rho) / (1 - rho))
        return inflation
