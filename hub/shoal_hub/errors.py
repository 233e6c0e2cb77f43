"""The hub's errors. Each carries what a person at the API needs: a code, a message and a remedy.

`api.py` turns every `HubError` into `{"error": {"code", "message", "remedy"}}` with the class's HTTP status.
"""

import math
from typing import ClassVar


class HubError(Exception):
    """Root of the errors that the hub raises.

    Attributes:
        message: What was being done, what was found and what was expected.
        remedy: What the reader can do about it; empty where the message ends with it.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class SettingsError(HubError):
    """A setting has a value that the hub cannot start with."""

    code = "settings"


class InvalidInputError(HubError):
    """What a caller sent is well-formed but not acceptable."""

    status = 422
    code = "invalid"


class UnauthenticatedError(HubError):
    """A caller did not show who it is, by a token, a session or a password."""

    status = 401
    code = "unauthenticated"


class RefusedError(HubError):
    """A caller is known or anonymous, but may not do this."""

    status = 403
    code = "refused"


class NotFoundError(HubError):
    """What a caller named does not exist."""

    status = 404
    code = "not_found"


class ConflictError(HubError):
    """What a caller asks for contradicts what is already there."""

    status = 409
    code = "conflict"


class ExistsError(ConflictError):
    """What a caller wants to make is there already."""

    code = "exists"


class ClockError(HubError):
    """What a device signed is not of this time by the hub's clock."""

    status = 409
    code = "clock"


class TooLargeError(HubError):
    """A body or a file is larger than the hub takes."""

    status = 413
    code = "too_large"


class TooManyRequestsError(HubError):
    """A caller asks more often than it may.

    Attributes:
        retry_after_s: When it may ask again.
    """

    status = 429
    code = "too_many_requests"

    def __init__(self, message: str, remedy: str, retry_after_s: float) -> None:
        super().__init__(message, remedy)
        self.retry_after_s = retry_after_s

    @property
    def retry_after(self) -> str:
        """The header's value: whole seconds, rounded up."""
        return str(math.ceil(self.retry_after_s))


class UnavailableError(HubError):
    """Something outside that the hub needs for this does not answer."""

    status = 503
    code = "unavailable"


class DatabaseError(HubError):
    """The database cannot be opened or brought to this version's schema."""

    code = "database"


class ArtifactError(HubError):
    """A stored artifact is missing or its bytes are not the ones that its name promises."""

    code = "artifact"


class JobError(HubError):
    """A job could not do its work."""

    code = "job"
