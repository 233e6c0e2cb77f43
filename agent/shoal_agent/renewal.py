"""Renewal: at two thirds of its certificate's life, or when it has ended, the device gets one for a new key.

The request is signed by the present key and goes to the hub over HTTPS. The new pair is shown to the broker at once;
the old one stays good until the hub has seen the new one in use.
"""

import http.client
import secrets
from collections.abc import Callable
from datetime import datetime
from logging import getLogger
from typing import Protocol

import anyio
import anyio.to_thread
from cryptography.hazmat.primitives import serialization

from shoal_agent.certificates import parse_certificates
from shoal_agent.clock import Clock
from shoal_agent.errors import DiskError, HubError, RenewalError
from shoal_agent.hub_api import API, Answer, call, refusal
from shoal_agent.identity import MAX_IDENTITY_BYTES, Identity, load_key, make_signing_request, read_certificate
from shoal_agent.pairs import Pairs
from shoal_agent.settings import RenewalSettings
from shoal_contract.device_signature import device_key_id
from shoal_contract.enrolment import RenewalRequest, RenewalResponse
from shoal_contract.envelope import RENEWAL_TYPE, sign
from shoal_contract.errors import MessageError
from shoal_contract.ids import sha256_hex
from shoal_contract.wire import parse_message

_log = getLogger(__name__)
_CLOCK = "clock"


class Reconnecting(Protocol):
    """What the renewal needs of the link."""

    async def reconnect(self) -> None:
        """Connect again, with the pair that is next."""

    async def wait_connected(self) -> int:
        """Wait until the broker has accepted a connection."""


class Renewal:
    """Keeps one device's certificate fresh.

    Args:
        identity: Whose, and where the hub is.
        pairs: Where the pairs are kept.
        settings: When, and how often it is tried again.
        now: Trusted time.
        jitter: Uniform random number in [0, 1), so that devices of one batch do not renew as one.
    """

    def __init__(
        self,
        identity: Identity,
        pairs: Pairs,
        settings: RenewalSettings,
        now: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._pairs = pairs
        self._settings = settings
        self._now = now
        self._jitter = jitter
        self._attempts = 0
        self._spread = jitter()

    async def run(self, link: Reconnecting) -> None:
        """Renew whenever it is time, for as long as the agent runs."""
        pause_s = 0.0
        while True:
            await anyio.sleep(pause_s)
            pause_s = await self._step(link)

    async def _step(self, link: Reconnecting) -> float:
        """Renew if it is time; return the seconds until the next look."""
        try:
            if self.due_in_s() <= 0 and not self._is_waiting():
                await anyio.to_thread.run_sync(self.renew)
                await link.reconnect()
                with anyio.move_on_after(self._settings.retry_min_s):
                    await link.wait_connected()
            left_s = self.due_in_s()
        except (RenewalError, DiskError) as error:
            _log.warning("%s; %s", error, error.remedy)
            left_s = 0.0
        return self._pause_s(left_s)

    def due_in_s(self) -> float:
        """Return the seconds until the present certificate is to be renewed.

        Raises:
            DiskError: It can not be read.
        """
        present = read_certificate(self._pairs.present)
        life = present.expires_at - present.starts_at
        share = self._settings.share + self._settings.spread * self._spread
        return (present.starts_at + life * share - self._now()).total_seconds()

    def renew(self) -> None:
        """Ask the hub for the next certificate, and keep it for the next connection.

        Raises:
            RenewalError: The hub can not be reached, refused, or answered something else.
            DiskError: The identity can not be read, or the disk does not take the next one.
        """
        key = self._pairs.next_key()
        try:
            answer = self._ask(make_signing_request(key), self._now())
        except HubError as error:
            raise RenewalError(f"renewing the certificate: {error}", error.remedy) from error
        try:
            certificate_pem = parse_message(RenewalResponse, answer.body, MAX_IDENTITY_BYTES).certificate_pem
            self._pairs.stage(key, _checked(certificate_pem, device_key_id(key.public_key())))
        except (MessageError, ValueError) as error:
            raise RenewalError(f"renewing the certificate: reading the hub's answer: {error}") from error

    def _ask(self, csr_pem: str, at: datetime, *, is_repeated: bool = False) -> Answer:
        identity = self._identity
        present = load_key(self._pairs.present)
        request = RenewalRequest(device_id=identity.device_id, csr_pem=csr_pem, at=at, nonce=secrets.token_hex(16))
        envelope = sign(request.to_bytes(), RENEWAL_TYPE, present, device_key_id(present.public_key()))
        answer = call(identity.api_url, "POST", f"{API}/renew", identity.hub_context(self._now), envelope)
        if answer.status == http.client.OK:
            return answer
        problem = refusal(identity.api_url, answer)
        if problem.answer == _CLOCK and answer.date is not None and not is_repeated:
            _log.warning("this device's clock is %s, the hub's %s", at, answer.date)
            return self._ask(csr_pem, answer.date, is_repeated=True)
        raise problem

    def _is_waiting(self) -> bool:
        """Whether a next pair waits for the broker; one that has ended meanwhile is dropped."""
        if not self._pairs.next.exists():
            return False
        if read_certificate(self._pairs.next).expires_at > self._now():
            return True
        self._pairs.discard_next()
        return False

    def _pause_s(self, left_s: float) -> float:
        """Return how long to wait: until it is time, looking at the clock in between, or until the next attempt."""
        settings = self._settings
        if left_s > 0:
            self._attempts = 0
            return min(left_s, settings.look_s)
        ceiling_s: float = min(settings.retry_max_s, settings.retry_min_s * 2 ** min(self._attempts, 16))
        self._attempts += 1
        return ceiling_s * (0.5 + 0.5 * self._jitter())


def _checked(certificate_pem: str, key_id: str) -> str:
    """Return a certificate that is for our key.

    Raises:
        ValueError: It is for another one, or is none.
    """
    found, *_ = parse_certificates(certificate_pem.encode())
    key_form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if sha256_hex(found.public_key().public_bytes(*key_form)) != key_id:
        msg = "a certificate for another key found"
        raise ValueError(msg)
    return found.public_bytes(serialization.Encoding.PEM).decode()
