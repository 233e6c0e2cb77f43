"""A token bucket: how long whoever wants to pass so much has to wait, so that a rate holds on average. Pure."""


class TokenBucket:
    """Fills at `per_s` up to `burst`; what passes is taken out, and may be more than there is once the bucket is full.

    In any stretch of `t` seconds at most `burst + largest + per_s * t` passes, with `largest` the largest amount: one
    that is larger than `burst` waits for a full bucket, and leaves a debt that later ones wait for.

    Args:
        per_s: The rate.
        burst: What may pass at once after a pause.
        now_s: A clock that never goes back, in seconds; the bucket begins full.
    """

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at_s = now_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return how long `amount` has to wait from now; 0 if it may pass."""
        return max(0.0, (min(amount, self._burst) - self._filled(now_s)) / self._per_s)

    def take(self, amount: float, now_s: float) -> None:
        """Let `amount` pass, whether or not it has waited."""
        self._tokens, self._at_s = self._filled(now_s) - amount, max(now_s, self._at_s)

    def _filled(self, now_s: float) -> float:
        return min(self._burst, self._tokens + self._per_s * max(0.0, now_s - self._at_s))
