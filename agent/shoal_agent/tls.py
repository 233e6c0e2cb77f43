"""The TLS context of a client that keeps one for good, while key, certificate and CA are renewed under it."""

import ssl
from collections.abc import Callable
from typing import Any

from shoal_agent.errors import DiskError


class FreshContext(ssl.SSLContext):
    """paho takes one TLS context for good: this one makes each connection's anew, from the files as they are then."""

    make: Callable[[], ssl.SSLContext]

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - as ssl declares it
        """Wrap a socket by a context that was made just now."""
        try:
            context = self.make()
        except DiskError as error:
            raise OSError(str(error)) from error  # what paho tries again after
        return context.wrap_socket(*arguments, **options)
