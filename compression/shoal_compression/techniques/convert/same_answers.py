"""Sees that a converted model computes what its source does."""

from collections.abc import Mapping
from typing import Final

from shoal_compression.comparing import sqnr_db
from shoal_compression.errors import TechniqueError
from shoal_numerics.tensors import Array

LOWEST_SQNR_DB: Final = 60.0
"""Between two runtimes: float32 summed in another order gives more than 100."""


def check_same(expected: Mapping[str, Array], found: Mapping[str, Array], doing: str, remedy: str) -> None:
    """See that outputs by name, (n, …), are the same but for rounding in float32.

    Raises:
        TechniqueError: One is not; it says what to do.
    """
    for name, wanted in expected.items():
        ratio = sqnr_db(wanted, found[name])
        if ratio < LOWEST_SQNR_DB:
            said = f"{doing}: {name} has {ratio:.1f} dB of signal to noise, at least {LOWEST_SQNR_DB:g} expected"
            raise TechniqueError(f"{said}; {remedy}")
