"""Why data can not be made an input: of the whole of it, or of one sample."""

from shoal_numerics.errors import NumericsError


class ProcessingError(NumericsError):
    """Data does not have what a version declares, or what it asks for is not installed.

    Args:
        message: What was being done, what was found, what was expected.
        remedy: What a person should do next; empty: give the data that the model asks for.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class MissingColumnError(ProcessingError):
    """The data lacks a column that is declared."""


class SampleError(ProcessingError):
    """One sample can not be made an input; the others are not concerned."""
