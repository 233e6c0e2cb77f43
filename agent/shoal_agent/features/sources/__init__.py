"""Where events come from: a broker, a growing file, a serial line, programs on the device, a camera.

A source puts messages into a backlog until it is cancelled. One that fails is run again after a while.
"""

from shoal_agent.features.sources.make import make_source
from shoal_agent.features.sources.source import Inbox, Source

__all__ = ["Inbox", "Source", "make_source"]
