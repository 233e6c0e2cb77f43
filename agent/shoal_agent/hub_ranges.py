"""Artifacts over HTTPS: the chunks' list and chunks as ranges, from the hub itself, by requests that this device signs.

For what never stands at the broker, and for what the broker is silent about. Who serves it is trusted with nothing:
the same hashes are checked as of what came over MQTT.
"""

import http.client
import threading
from collections.abc import Callable
from datetime import datetime
from logging import getLogger
from typing import Final

from anyio import to_thread

from shoal_agent.clock import Clock
from shoal_agent.errors import FetchError, HubError, HungUpError
from shoal_agent.hub_api import API, Answer, HubConnection, refusal
from shoal_agent.identity import Identity, load_key
from shoal_agent.pairs import Pairs
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.device_request import ArtifactRequest, authorization_of
from shoal_contract.device_signature import device_key_id
from shoal_contract.ledger import Traffic
from shoal_contract.wire_bytes import RANGE_CONNECTING, range_cost

_log = getLogger(__name__)
_CLOCK: Final = "clock"
_PARTIAL: Final = 206


class HubRanges:
    """Reads artifacts from the hub's API, a request at a time, on a connection that stays open.

    Args:
        identity: Who this device is, and where the hub is.
        pairs: The pair whose key signs.
        now: Trusted time.
        count: Told of what has passed.
    """

    def __init__(
        self, identity: Identity, pairs: Pairs, now: Clock, count: Callable[[Traffic], None] = lambda _: None
    ) -> None:
        self._identity = identity
        self._pairs = pairs
        self._now = now
        self._count = count
        self._lock = threading.Lock()
        self._connection: HubConnection | None = None
        self._is_closing = False
        self._in_flight: threading.Event | None = None
        """Of the request that is being answered: set when nobody waits for it any more."""

    async def chunk_list(self, ref: ArtifactRef) -> bytes:
        """Return the artifact's transfer manifest, which nobody has signed.

        Raises:
            FetchError: The hub can not be reached or refuses.
        """
        answer = await self._read(ref.sha256, "/chunks", {})
        if answer.status != http.client.OK:
            raise self._refused(ref.sha256, answer)
        return answer.body

    async def read(self, sha256: str, start: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes of an artifact from `start` on, a mebibyte at most.

        Raises:
            FetchError: The hub can not be reached or refuses.
        """
        wanted = {"Range": f"bytes={start}-{start + size_bytes - 1}"}
        answer = await self._read(sha256, "", wanted)
        if answer.status != _PARTIAL:
            raise self._refused(sha256, answer)
        return answer.body

    def close(self) -> None:
        """Hang up, at once or after the request that is being answered; the next request connects again.

        Waits for nothing, as it is called in the event loop.
        """
        self._is_closing = True
        self._hang_up_if_free()

    def _hang_up_if_free(self) -> None:
        """Do what `close` has asked for; who holds the lock does it when it has let go."""
        if self._is_closing and self._lock.acquire(blocking=False):
            try:
                self._is_closing = False
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
            finally:
                self._lock.release()

    async def _read(self, sha256: str, tail: str, headers: dict[str, str]) -> Answer:
        """Ask in a thread; who is cancelled waits for no answer, and nobody else does for that one."""
        dropped = threading.Event()
        try:
            return await to_thread.run_sync(self._read_in_turn, sha256, tail, headers, dropped, abandon_on_cancel=True)
        finally:
            dropped.set()
            if self._in_flight is dropped and (connection := self._connection) is not None:
                connection.interrupt()

    def _read_in_turn(self, sha256: str, tail: str, headers: dict[str, str], dropped: threading.Event) -> Answer:
        try:
            with self._lock:
                if dropped.is_set():
                    raise FetchError(f"fetching {sha256[:12]} over HTTPS: nobody waits for it any more")
                self._in_flight = dropped
                try:
                    return self._ask_in_time(sha256, tail, headers)
                finally:
                    self._in_flight = None
        except HubError as error:
            raise FetchError(f"fetching {sha256[:12]} over HTTPS: {error}", error.remedy) from error
        finally:
            self._hang_up_if_free()

    def _ask_in_time(self, sha256: str, tail: str, headers: dict[str, str]) -> Answer:
        """Ask once, and again with the hub's time if this device's clock is off."""
        answer = self._ask(sha256, tail, headers, self._now())
        is_late = answer.status == http.client.CONFLICT and refusal(self._identity.api_url, answer).answer == _CLOCK
        if is_late and answer.date is not None:
            _log.warning("this device's clock is %s, the hub's %s", self._now(), answer.date)
            answer = self._ask(sha256, tail, headers, answer.date)
        return answer

    def _ask(self, sha256: str, tail: str, headers: dict[str, str], at: datetime) -> Answer:
        key = load_key(self._pairs.present)
        request = ArtifactRequest(device_id=self._identity.device_id, sha256=sha256, at=at)
        signed = {"Authorization": authorization_of(request, key, device_key_id(key.public_key()))}
        path = f"{API}/device/artifacts/{sha256}{tail}"
        try:
            answer = self._connected().ask("GET", path, headers=headers | signed)
        except HungUpError:  # servers end what is idle for a few seconds: between two versions' files, or amid a limit
            if self._in_flight is not None and self._in_flight.is_set():
                raise  # it was this device that has dropped the request
            answer = self._connected().ask("GET", path, headers=headers | signed)
        self._count(range_cost(sum(map(len, signed.values())), len(answer.body)))
        return answer

    def _connected(self) -> HubConnection:
        """Return the open connection, else one that is yet to be made, and that trusts what is to be trusted now."""
        if self._connection is None or not self._connection.is_open:
            self._connection = HubConnection(self._identity.api_url, self._identity.hub_context(self._now))
            self._count(RANGE_CONNECTING)
        return self._connection

    def _refused(self, sha256: str, answer: Answer) -> FetchError:
        error = refusal(self._identity.api_url, answer)
        return FetchError(f"fetching {sha256[:12]} over HTTPS: {error}", error.remedy)
