"""A share and how sure one can be of it, in a few lines: `scipy.stats` takes half a second and 60 MB to load."""

import math
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()


def wilson_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Return the bounds of a share by Wilson's score interval (J. Am. Stat. Assoc. 22, 1927).

    Args:
        successes: how many of the trials, 0 to `trials`.
        trials: how many independent trials, at least 1.
        confidence: how sure, above 0 and below 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not (0 <= successes <= trials and trials >= 1 and 0 < confidence < 1):
        msg = f"no interval at confidence {confidence} for {successes} of {trials} trials"
        raise ValueError(msg)
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    share, spread = successes / trials, z * z / trials
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low = (middle - half) / (1 + spread) if successes else 0.0
    high = (middle + half) / (1 + spread) if successes < trials else 1.0
    return low, high
