"""The client's errors. Each has a remedy that a person can follow."""


class ClientError(Exception):
    """Root of the errors that the client raises.

    Attributes:
        message: What was being done and what was found.
        remedy: What to do about it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class ProfileError(ClientError):
    """There is no profile that says which hub to talk to, or it cannot be read."""


class HubUnreachableError(ClientError):
    """No hub answered, or what answered is not the hub that the CA speaks for."""


class ApiError(ClientError):
    """The hub refused.

    Attributes:
        status: HTTP status.
        code: The hub's word for the reason, like `not_found`.
    """

    def __init__(self, status: int, code: str, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.status = status
        self.code = code


class JobFailedError(ClientError):
    """A job that was waited for has failed."""
