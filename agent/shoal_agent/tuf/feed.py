"""The timestamp and the index as they stand at the broker: the two topics that a device subscribes to."""

from shoal_contract.limits import MAX_PACKET_BYTES
from shoal_contract.trust import TrustIndex
from shoal_contract.wire import parse_message


class Feed:
    """What came last on `trust/timestamp` and `trust/index`; neither has been verified."""

    def __init__(self) -> None:
        self.timestamp: bytes | None = None
        self.names: frozenset[str] | None = None

    def take_timestamp(self, payload: bytes) -> bool:
        """Note the timestamp; return whether it is another one."""
        is_new = payload != (self.timestamp or b"")
        self.timestamp = payload or None
        return is_new

    def take_index(self, payload: bytes) -> bool:
        """Note the index; return whether it is another one.

        Raises:
            shoal_contract.errors.MessageError: It is no index; the one before stands.
        """
        names = frozenset(parse_message(TrustIndex, payload, MAX_PACKET_BYTES).names) if payload else None
        is_new = names != self.names
        self.names = names
        return is_new
