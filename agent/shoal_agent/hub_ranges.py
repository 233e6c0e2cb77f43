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
from shoal_agent.errors import FetchError, HubError
from shoal_agent.hub_api import API, Answer, HubConnection, refusal
from shoal_agent.identity import Identity, load_key
from shoal_agent.pairs import Pairs
from shoal_contract.desired import ArtifactRef
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

    async def chunk_list(self, ref: ArtifactRef) -> bytes:
        """Return the artifact's transfer manifest, which nobody has signed.

        Raises:
            FetchError: The hub can not be reached or refuses.
        """
        answer = await to_thread.run_sync(self._read, ref.sha256, "/chunks", {})
        if answer.status != http.client.OK:
            raise self._refused(ref.sha256, answer)
        return answer.body

    async def read(self, sha256: str, start: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes of an artifact from `start` on, a mebibyte at most.

        Raises:
            FetchError: The hub can not be reached or refuses.
        """
        wanted = {"Range": f"bytes={start}-{start + size_bytes - 1}"}
        answer = await to_thread.run_sync(self._read, sha256, "", wanted)
        if answer.status != _PARTIAL:
            raise self._refused(sha256, answer)
        return answer.body

    def close(self) -> None:
        """Hang up; the next request connects again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _read(self, sha256: str, tail: str, headers: dict[str, str]) -> Answer:
        """Ask once, and again with the hub's time if this device's clock is off."""
        url = self._identity.api_url
        with self._lock:
            try:
                answer = self._ask(sha256, tail, headers, self._now())
                is_late = answer.status == http.client.CONFLICT and refusal(url, answer).answer == _CLOCK
                if is_late and answer.date is not None:
                    _log.warning("this device's clock is %s, the hub's %s", self._now(), answer.date)
                    answer = self._ask(sha256, tail, headers, answer.date)
            except HubError as error:
                raise FetchError(f"fetching {sha256[:12]} over HTTPS: {error}", error.remedy) from error
            return answer

    def _ask(self, sha256: str, tail: str, headers: dict[str, str], at: datetime) -> Answer:
        key = load_key(self._pairs.present)
        request = ArtifactRequest(device_id=self._identity.device_id, sha256=sha256, at=at)
        signed = {"Authorization": authorization_of(request, key, device_key_id(key.public_key()))}
        if self._connection is None:
            self._connection = HubConnection(self._identity.api_url, self._identity.hub_context(self._now))
        if not self._connection.is_open:
            self._count(RANGE_CONNECTING)
        answer = self._connection.ask("GET", f"{API}/device/artifacts/{sha256}{tail}", headers=headers | signed)
        self._count(range_cost(sum(map(len, signed.values())), len(answer.body)))
        return answer

    def _refused(self, sha256: str, answer: Answer) -> FetchError:
        error = refusal(self._identity.api_url, answer)
        return FetchError(f"fetching {sha256[:12]} over HTTPS: {error}", error.remedy)
