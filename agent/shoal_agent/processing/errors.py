"""Why data can not be made an input, as the agent reports it."""

from shoal_agent.errors import AgentError


class ProcessingError(AgentError):
    """Data does not have what the version's manifest asks for, or what it asks for is not installed."""

    code = "processing"
    default_remedy = "give the data that the model asks for; its manifest says which (docs/guides/processing.md)"


class MissingColumnError(ProcessingError):
    """The data lacks a column that the manifest asks for."""


def missing_extra(doing: str, package: str, extra: str) -> ProcessingError:
    """Return the error of a library that is not installed.

    Args:
        doing: What it is needed for.
        package: The library.
        extra: The extra of Shoal that brings it.
    """
    return ProcessingError(f"{doing}: {package} is not installed", f"on the device: pip install 'shoal[{extra}]'")
