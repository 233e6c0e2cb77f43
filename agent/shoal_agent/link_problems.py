"""Says why the link is down, and what to do where waiting does not help: a foreign broker, a revoked device. Pure."""

import ssl
from typing import Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

_TAKEN_OVER: Final = ReasonCode(PacketTypes.DISCONNECT, "Session taken over").value
_NOT_OURS: Final = (
    "it cannot show a certificate of this device's hub for that name, so nothing was sent to it; check what answers at "
    "that address, and that it is the name in the hub's SHOAL_PUBLIC_HOST"
)
_ASK: Final = (
    "ask the operator what `shoal devices show {device_id}` says; a board that was revoked serves on and comes back by "
    "enrolling anew: stop the agent, remove its identity folder, then shoal-agent enrol"
)


def explain_no_connection(broker: str, error: OSError | None, device_id: str) -> str:
    """Say why there was no connection to `broker` (host:port)."""
    problem = f"no connection to {broker}"
    if error is None:
        return problem
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{problem}: {_NOT_OURS} ({error})"
    if isinstance(error, ssl.SSLError) and "alert" in str(error):
        return f"{problem}: it refused this device's certificate ({error}); {_ASK.format(device_id=device_id)}"
    return f"{problem}: {error}"


def explain_end(reason: ReasonCode, device_id: str, *, was_accepted: bool) -> str:
    """Say why a connection ended; `was_accepted` if the broker had taken it before."""
    if not was_accepted:
        # With TLS 1.3 a client is through with the handshake before the server has looked at its certificate.
        return (
            "the broker hung up before it accepted the connection, as it does on a certificate that is revoked or "
            f"expired: {_ASK.format(device_id=device_id)}"
        )
    if reason.value == _TAKEN_OVER:
        return (
            "another connection in this device's name took its place: it was revoked, or its identity is used twice: "
            f"{_ASK.format(device_id=device_id)}"
        )
    return f"connection ended: {reason}"
