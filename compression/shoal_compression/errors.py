"""The errors of compression. All of them derive from `CompressionError`."""


class CompressionError(Exception):
    """Root of the errors that compression raises."""


class SourceError(CompressionError):
    """The bundle to compress is incomplete, altered, or has a form that no technique takes."""


class TechniqueError(CompressionError):
    """A technique is not known, or what it wrote cannot be run."""
