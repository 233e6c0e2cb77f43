"""From the declaration of a source to the source."""

from collections.abc import Callable, Sequence
from pathlib import Path

import anyio

from shoal_agent.features.places import allowed_path
from shoal_agent.features.sources.camera import CameraFrames
from shoal_agent.features.sources.file import GrowingFile
from shoal_agent.features.sources.mqtt import BrokerMessages
from shoal_agent.features.sources.serial import SerialLines
from shoal_agent.features.sources.source import Inbox, Source
from shoal_contract.features import CameraSource, FileSource, MqttSource, SerialSource
from shoal_contract.features import Source as Declared


def make_source(declared: Declared, place: str, folders: Sequence[Path], clock_ns: Callable[[], int]) -> Source:
    """Return the source that a pipeline declares.

    Args:
        declared: Which one.
        place: Where it goes on, of the last message that was computed; empty: it begins.
        folders: Folders whose files may be read.
        clock_ns: The time of what comes.

    Raises:
        FeaturesError: The device's owner does not allow it.
    """
    match declared:
        case MqttSource():
            return BrokerMessages(declared, clock_ns)
        case FileSource():
            path = allowed_path(declared.path, folders, "reading events from a file")
            return GrowingFile(path, place, clock_ns, is_read_from_start=declared.is_read_from_start)
        case SerialSource():
            return SerialLines(declared, clock_ns)
        case CameraSource():
            return CameraFrames(declared, clock_ns)
        case _:
            return PushedEvents()


class PushedEvents:
    """What programs on this device send; the endpoint's route puts it into the pipeline's inbox."""

    async def run(self, _inbox: Inbox, on_ready: Callable[[], None]) -> None:
        """Wait."""
        on_ready()
        await anyio.sleep_forever()
