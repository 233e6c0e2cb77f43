"""TLS to the hub at trusted time: its CA alone is trusted, and expiry is checked by a clock that may be right.

OpenSSL checks dates by the system clock. While that is behind the floor (a board without a battery boots in 1970),
OpenSSL is told not to, and what has expired at the floor is refused here: a CA before it is loaded, the server's
certificate right after the handshake, before either side has sent anything of its own. What may stand in between,
the link from an older CA to a newer one, ends when the older CA does. The floor is the earliest that it can be, so a
certificate that begins after it says nothing against itself: the hub has renewed it while the device was off.
"""

import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from shoal_agent.certificates import parse_certificates, parse_der_certificate
from shoal_agent.clock import Clock

if TYPE_CHECKING:
    from cryptography import x509

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h, which Python's ssl has no name for."""


def hub_context(ca_path: Path, clock: Clock) -> ssl.SSLContext:
    """Return the context for a connection that is made now, to a server whose certificate the hub's CA signed.

    Raises:
        OSError: The CA's file can not be read; an `ssl.SSLError` is one, too.
    """
    if not clock.is_behind:
        return ssl.create_default_context(cafile=str(ca_path))
    return _context_at(clock(), ca_path.read_bytes())


def pinned_context(ca: "x509.Certificate", clock: Clock) -> ssl.SSLContext:
    """Return the context for a connection that is made now, trusting this CA certificate alone.

    Raises:
        ssl.SSLError: It has expired.
    """
    from cryptography.hazmat.primitives import serialization

    pem = ca.public_bytes(serialization.Encoding.PEM)
    if not clock.is_behind:
        return ssl.create_default_context(cadata=pem.decode())
    return _context_at(clock(), pem)


def _context_at(at: datetime, ca_pem: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_not_expired_at(at, ca_pem))
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | NO_CHECK_TIME)
    context.sslsocket_class = _socket_class(at)
    return context


class LatestContext(ssl.SSLContext):
    """Makes the context of each connection anew: certificates, CA and clock may have changed since the last one.

    Args:
        make: Makes it; raises an `OSError` where there is none.
        on_refused: Told when a server's certificate was refused; called in the connecting thread.
    """

    def __new__(cls, *_: object) -> Self:
        """Make what `ssl` itself takes for a client's context; it opens no connection."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, make: Callable[[], ssl.SSLContext], on_refused: Callable[[], None]) -> None:
        self._make = make
        self._on_refused = on_refused

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - ssl's own
        """Return the socket in TLS, as `ssl.SSLContext.wrap_socket` does."""
        context, on_refused = self._make(), self._on_refused
        base = context.sslsocket_class or ssl.SSLSocket

        class TellingSocket(base):  # type: ignore[valid-type,misc]  # of a class chosen at run time
            def do_handshake(self, block: bool = False) -> None:
                try:
                    super().do_handshake(block)
                except ssl.SSLCertVerificationError:
                    self.close()
                    on_refused()
                    raise

        context.sslsocket_class = TellingSocket
        return context.wrap_socket(*arguments, **options)


def _socket_class(at: datetime) -> type[ssl.SSLSocket]:
    class SocketAtFloor(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            _check_expiry(self.getpeercert(binary_form=True), at)

    return SocketAtFloor


def _check_expiry(certificate: bytes | None, at: datetime) -> None:
    if certificate is None:
        raise ssl.SSLCertVerificationError(1, "the server has shown no certificate")
    try:
        found = parse_der_certificate(certificate)
    except ValueError as error:
        raise ssl.SSLCertVerificationError(1, f"the server's certificate can not be read: {error}") from error
    if found.not_valid_after_utc < at:
        message = f"the server's certificate expired at {found.not_valid_after_utc}, and it is {at} at the earliest"
        raise ssl.SSLCertVerificationError(1, message)


def _not_expired_at(at: datetime, ca_pem: bytes) -> str:
    from cryptography.hazmat.primitives import serialization

    try:
        found = parse_certificates(ca_pem)
    except ValueError as error:
        raise ssl.SSLError(1, f"reading the hub's CA certificates: {error}") from error
    valid = [one for one in found if one.not_valid_after_utc >= at]
    if not valid:  # an empty text would make Python trust what the system does
        raise ssl.SSLCertVerificationError(1, f"every CA certificate of the hub has expired at {at} or before")
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in valid)
