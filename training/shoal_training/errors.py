"""The errors of training. All of them derive from `TrainingError`."""


class TrainingError(Exception):
    """Root of the errors that training raises."""


class DataError(TrainingError):
    """Data does not have the form or the amount that a step needs."""


class BundleError(TrainingError):
    """A bundle folder is incomplete, altered, or does not have the form of a bundle."""


class ExportError(TrainingError):
    """A model cannot be exported, or what was exported does not compute what the model computes."""


class WeightsError(TrainingError):
    """Weights do not fit the model: wrong number, shape, datatype, or values that are not finite."""


class PipelineError(TrainingError):
    """A pipeline file is not one: a field is missing, unknown or of another form; or its run can not go on."""


class ValidationFailedError(TrainingError):
    """Rows do not keep what a check asks; it says which, and how many."""


class LimitError(TrainingError):
    """A model does not reach what its pipeline asks of it."""


class NetworkError(TrainingError):
    """A network can not be built, does not take the samples, or its training diverges."""


class MemoryNeededError(TrainingError):
    """Training needs more memory than there is; it says how much, and what needs less."""


class MissingLibraryError(TrainingError):
    """A library of an extra is not installed; it says which extra."""


class LaunchError(TrainingError):
    """The processes that train could not be started, or ended too often; it says where their log is."""


class StreamError(TrainingError):
    """A broker of events can not be reached, refuses, or does not confirm."""


class InferenceError(TrainingError):
    """A batch inference can not go on: its file is none, its run is another's, or its workers are lost."""


class SinkError(TrainingError):
    """What a model has answered can not be written; it says where, and what is there already stays."""


class CancelledError(TrainingError):
    """Work was taken back; what it had written stays."""
