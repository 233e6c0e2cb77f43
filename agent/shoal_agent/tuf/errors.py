"""Why a refresh failed, told by the attack that it looks like."""

from shoal_agent.errors import TrustError

_WAIT = "what was trusted before still is, and the agent tries again; find out who serves this metadata if it lasts"
_PUBLISH = "see that the hub runs and renews its metadata, and that the device's network lets it through"


class TufError(TrustError):
    """The metadata was refused, or could not be had. What was trusted before still is.

    Args:
        code: Which check failed.
        message: What was being done and what was found.
        remedy: What a person should do next.
    """

    def __init__(self, code: str, message: str, remedy: str = _WAIT) -> None:
        super().__init__(message, remedy)
        self.code = code


def from_tuf(error: Exception, where: str) -> TufError:
    """Return what python-tuf has raised as an error of the agent's."""
    from tuf.api import exceptions

    text = f"refreshing trust over {where}: {str(error) or type(error).__name__}"
    kinds = (
        (exceptions.ExpiredMetadataError, "tuf_expired", _PUBLISH),
        (exceptions.BadVersionNumberError, "tuf_rollback", _WAIT),
        (exceptions.UnsignedMetadataError, "tuf_signature", _WAIT),
        (exceptions.LengthOrHashMismatchError, "tuf_mismatch", _WAIT),
        (exceptions.DownloadLengthMismatchError, "tuf_endless", _WAIT),
        (exceptions.SlowRetrievalError, "tuf_slow", _WAIT),
        (exceptions.DownloadError, "tuf_unavailable", _PUBLISH),
    )
    for kind, code, remedy in kinds:
        if isinstance(error, kind):
            return TufError(code, text, remedy)
    return TufError("tuf_invalid", text)
