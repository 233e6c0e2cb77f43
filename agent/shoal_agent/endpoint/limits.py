"""Every bound of a connection, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EndpointLimits:
    """What one listener takes from those who ask, so that none of them takes the device from the others."""

    max_connections: int = 256
    """Open connections, handshakes of TLS among them. One more closes the one that has been idle longest; where none is
    idle it gets 503, and one more handshake ends the one that has lasted longest."""
    max_head_bytes: int = 16 * 1024
    """Request line and headers. A larger head gets 431."""
    max_headers: int = 64
    """Header lines of a request."""
    max_body_bytes: int = 16 * 1024 * 1024
    """A larger body gets 413 while it is being read, or by its announced length. A route may take less."""
    max_bodies_bytes: int = 64 * 1024 * 1024
    """Bodies that are being read or worked on, together. One more gets 503."""
    read_timeout_s: float = 10.0
    """A client that has begun a request and not ended it by then gets 408."""
    write_timeout_s: float = 30.0
    """A client that has not read its answer by then is cut off."""
    idle_timeout_s: float = 300.0
    """A connection without a request for so long is closed."""
    linger_s: float = 5.0
    """How long the rest of a refused request is thrown away, so that the client gets to read why."""
    max_pipelined: int = 16
    """Requests of one connection that wait for their turn; more are not read before, not even out of what has come."""
    shutdown_s: float = 5.0
    """How long a stop waits for requests in flight."""
