"""Where results go: a broker, an address, a file, a command of the device's owner.

Each result is one line of JSON. A sink gets several at a time from a backlog of its own: none waits for another.
"""

from shoal_agent.features.sinks.make import make_sink
from shoal_agent.features.sinks.sink import Sink

__all__ = ["Sink", "make_sink"]
