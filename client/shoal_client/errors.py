"""The client's errors. Each has a remedy that a person can follow."""

from shoal_client.operators import Approval


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


class ApprovalPendingError(ClientError):
    """The hub has not done it yet: its policy wants approvals by other people first, and they are asked for.

    Attributes:
        approval: What waits.
    """

    def __init__(self, approval: Approval) -> None:
        people = "another person" if approval.needed == 1 else f"{approval.needed} other people"
        super().__init__(
            f"{approval.model} version {approval.version} waits until {people} approve: {approval.id}",
            f"it happens by itself with the last approval; see it: shoal approvals show {approval.id}",
        )
        self.approval = approval
