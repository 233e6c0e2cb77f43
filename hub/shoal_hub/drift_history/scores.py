"""What tests say of devices' days in a byte a feature, and how blocks of devices hold it. Pure.

A byte is as fine as needed: a distance has a resolution of a hundredth, and a history is looked at, not tested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal_numerics import DriftVerdict

MOST: Final = 254
"""The largest code; 255 stands for what was not tested."""
UNTESTED: Final = 255
_PSI_CODES: Final = 58.0
"""Codes a doubling of 1 + PSI: up to about 20, which is beyond what ten groups can come to."""
_BLOCK_AT: Final = len("d-")


@dataclass(frozen=True, eq=False)
class Scores:
    """What tests say of some devices, a row each.

    Attributes:
        devices: Their ids.
        samples: (devices,) uint64.
        drifted: (devices, features) bool.
        ks: (devices, features) uint8, distances by `ks_codes`.
        psi: (devices, features) uint8, by `psi_codes`.
    """

    devices: tuple[str, ...]
    samples: NDArray[np.uint64]
    drifted: NDArray[np.bool_]
    ks: NDArray[np.uint8]
    psi: NDArray[np.uint8]

    def is_tested(self, min_samples: int) -> NDArray[np.bool_]:
        """Return whether a device had enough samples to be tested, (devices,) bool."""
        return self.samples >= min_samples

    def chosen(self, rows: NDArray[Any]) -> "Scores":
        """Return the scores of some devices, by their places or a mask."""
        names = np.array(self.devices, dtype=object)[rows]
        return Scores(tuple(names), self.samples[rows], self.drifted[rows], self.ks[rows], self.psi[rows])


class Block(Protocol):
    """A row of device-days."""

    features: int
    devices: str
    samples: bytes
    drifted: bytes
    ks: bytes
    psi: bytes


def block_of(device_id: str) -> str:
    """Return the block that a device is in: ids are random, so that 32 of them are about equal."""
    return device_id[_BLOCK_AT : _BLOCK_AT + 1]


def ks_codes(distances: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return distances, 0 to 1 or NaN, in steps of 1/254."""
    return np.where(np.isnan(distances), UNTESTED, np.rint(np.nan_to_num(distances) * MOST)).astype(np.uint8)


def ks_values(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the distances of codes, within 0.002; NaN where nothing was tested."""
    values: NDArray[np.float64] = np.where(codes == UNTESTED, np.nan, codes / MOST)
    return values


def psi_codes(indices: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return stability indices, at least 0 or NaN, in steps of 1.2 % of 1 + PSI."""
    codes = np.minimum(np.rint(_PSI_CODES * np.log2(1 + np.nan_to_num(np.maximum(indices, 0.0)))), MOST)
    return np.where(np.isnan(indices), UNTESTED, codes).astype(np.uint8)


def psi_values(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the indices of codes; NaN where nothing was tested."""
    values: NDArray[np.float64] = np.where(codes == UNTESTED, np.nan, 2.0 ** (codes / _PSI_CODES) - 1)
    return values


def scores_of(verdicts: Mapping[str, tuple[int, DriftVerdict]]) -> Scores:
    """Return the scores of devices' days.

    Args:
        verdicts: By device: samples, and what the tests say; at least one, all of one version.
    """
    found = [verdict.features for _, verdict in verdicts.values()]
    return Scores(
        tuple(verdicts),
        np.array([samples for samples, _ in verdicts.values()], dtype=np.uint64),
        np.array([[one.is_drifted for one in features] for features in found], dtype=np.bool_),
        ks_codes(np.array([[one.ks for one in features] for features in found])),
        psi_codes(np.array([[one.psi for one in features] for features in found])),
    )


def merged(old: Scores | None, new: Scores) -> Scores:
    """Return both, with the new scores of devices that have some in both."""
    if old is None:
        return new
    replaced = set(new.devices)
    kept = old.chosen(np.array([device not in replaced for device in old.devices], dtype=np.bool_))
    return joined([kept, new])


def joined(parts: Sequence[Scores]) -> Scores:
    """Return the scores of all parts, at least one, one after the other."""
    return Scores(
        tuple(device for part in parts for device in part.devices),
        np.concatenate([part.samples for part in parts]),
        np.concatenate([part.drifted for part in parts]),
        np.concatenate([part.ks for part in parts]),
        np.concatenate([part.psi for part in parts]),
    )


def read_block(row: Block) -> Scores:
    """Return what a row holds."""
    devices = tuple(row.devices.split("\n"))
    shape = (len(devices), row.features)
    bits = np.frombuffer(row.drifted, dtype=np.uint8).reshape(len(devices), -1)
    return Scores(
        devices,
        np.frombuffer(row.samples, dtype="<u8").astype(np.uint64, copy=False),
        np.unpackbits(bits, axis=1, count=row.features).view(np.bool_),
        np.frombuffer(row.ks, dtype=np.uint8).reshape(shape),
        np.frombuffer(row.psi, dtype=np.uint8).reshape(shape),
    )


def block_columns(scores: Scores) -> dict[str, Any]:
    """Return the columns of a row."""
    return {
        "features": scores.drifted.shape[1],
        "devices": "\n".join(scores.devices),
        "samples": scores.samples.astype("<u8").tobytes(),
        "drifted": np.packbits(scores.drifted, axis=1).tobytes(),
        "ks": scores.ks.tobytes(),
        "psi": scores.psi.tobytes(),
    }
