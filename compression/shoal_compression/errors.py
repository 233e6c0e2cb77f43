"""The errors of compression. All of them derive from `CompressionError`."""


class CompressionError(Exception):
    """Root of the errors that compression raises."""


class SourceError(CompressionError):
    """The bundle to compress is incomplete, altered, or has a form that no technique takes."""


class DataError(CompressionError):
    """The samples do not fit the model, or are not what a technique needs."""


class TechniqueError(CompressionError):
    """A technique is not known, or what it wrote cannot be run."""
