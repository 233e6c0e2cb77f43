"""The errors of compression. All of them derive from `CompressionError`."""


class CompressionError(Exception):
    """Root of the errors that compression raises."""


class SourceError(CompressionError):
    """The bundle to compress is incomplete, altered, or has a form that no technique takes."""


class DataError(CompressionError):
    """The samples do not fit the model, or are not what a technique needs."""


class TechniqueError(CompressionError):
    """A technique is not known, or what it wrote cannot be run."""


class OutputError(CompressionError):
    """What was made can not be written: the folder is none, may not be written, or the disk is full."""


class MissingLibraryError(CompressionError):
    """A library is not installed; it says which of Shoal's extras brings it."""


class RecipeError(CompressionError):
    """A recipe is not one: a field is missing, unknown or of another form, or its steps do not fit each other."""

    def __init__(self, message: str, place: tuple[int | str, ...] = ()) -> None:
        super().__init__(message)
        self.place = place
        """Of the field in the recipe, such as `("steps", 0, "bits")`."""


class ToleranceError(CompressionError):
    """A variant has lost more than its recipe allows; it says what, and which layers are to blame."""


class SearchError(CompressionError):
    """A search can not be done or continued, or no candidate keeps what was asked."""
