"""Decides for each request whether it is answered here or passed on, and sees that it is answered once."""

import math
import time
from collections import Counter
from collections.abc import Awaitable, Mapping
from logging import getLogger
from typing import Final

import anyio

from shoal_agent.endpoint import Handler, Request, Response
from shoal_agent.handover.choice import PeerState, Wanted, choose
from shoal_agent.handover.client import FAILURES, Context, Given, PeerClient
from shoal_agent.handover.wire import PASSED_HEADER, headers_back, headers_for, load_of, path_of
from shoal_agent.serving import Inference
from shoal_agent.serving.infer import KEY_HEADER, MAX_KEY_CHARS, TIMEOUT_HEADER, timeout_of
from shoal_agent.serving.passing import Asked, AskedOf
from shoal_agent.settings import HandoverSettings
from shoal_contract.desired import DesiredHandover, HandoverPeer

_OK: Final = 200
_NOT_FOUND: Final = 404
_TYPES: Final = frozenset({b"application/json", b"application/octet-stream"})
_log = getLogger(__name__)


class Handover:
    """Passes requests on by the policy that `follow` was told of; without one, all are answered here.

    Args:
        inference: Answers here.
        context: Makes the TLS of a connection to a neighbour.
        settings: Bounds.

    Attributes:
        passed: Requests that were passed on, by neighbour and outcome.
    """

    def __init__(self, inference: Inference, context: Context, settings: HandoverSettings) -> None:
        self._inference = inference
        self._context = context
        self._settings = settings
        self._policy: DesiredHandover | None = None
        self._states: dict[HandoverPeer, PeerState] = {}
        self._clients: dict[HandoverPeer, PeerClient] = {}
        self.passed: Counter[tuple[str, str]] = Counter()

    async def follow(self, policy: DesiredHandover | None) -> None:
        """Pass on by this policy from now on; what is known of neighbours that stay is kept."""
        self._policy = policy
        peers = set(policy.peers) if policy is not None else set()
        for gone in self._states.keys() - peers:
            del self._states[gone]
            await self._clients.pop(gone).aclose()
        for new in peers - self._states.keys():
            self._states[new] = PeerState(new)
            self._clients[new] = PeerClient(new, self._context, self._settings)

    def handler(self, here: Handler, asked_of: AskedOf) -> Handler:
        """Return what answers requests: `here` does, or a neighbour.

        Args:
            here: Answers them on this device.
            asked_of: Tells whom one asks; only called where it may be passed on.
        """

        def answer(request: Request) -> Response | Awaitable[Response]:
            if self._policy is None or not self._states or PASSED_HEADER in request.headers:
                return here(request)
            left_s = self._left_s(request)
            most_s = min(self._policy.patience_ms / 1000, left_s)
            if not self._inference.workers.is_full and self._inference.expected_wait_s() <= most_s:
                return here(request)
            wanted = self._wanted(request, asked_of(request))
            if wanted is None:
                return here(request)
            peer = self._choose(wanted)
            return here(request) if peer is None else self._passed_on(request, wanted, peer, here, left_s)

        return answer

    def _wanted(self, request: Request, asked: Asked | None) -> Wanted | None:
        """Return which version would answer here; None where it is none of those that neighbours may serve as well."""
        if asked is None:
            return None
        key = request.header(KEY_HEADER)[:MAX_KEY_CHARS]
        served = self._inference.chosen(asked.model, asked.version, key)
        if served is None or served is not self._inference.server.get(served.name):  # a trial's arm answers for itself
            return None
        return Wanted(served.name, served.version, served.manifest_sha256, asked.call)

    def _left_s(self, request: Request) -> float:
        return min(self._inference.settings.timeout_s, timeout_of(request) or math.inf)

    def _choose(self, wanted: Wanted) -> PeerState | None:
        load = self._inference.workers.load()
        own_load = sum(load.running.values()) + sum(load.waiting.values())
        bounds = self._settings
        return choose(
            self._states.values(),
            wanted,
            own_load,
            time.monotonic(),
            fresh_s=bounds.fresh_s,
            most_outstanding=bounds.max_outstanding,
        )

    async def _passed_on(
        self, request: Request, wanted: Wanted, peer: PeerState, here: Handler, left_s: float
    ) -> Response:
        started_s = time.monotonic()
        peer.used(started_s)
        peer.outstanding += 1
        try:
            given = await self._ask(request, wanted, peer, left_s)
        finally:
            peer.outstanding -= 1
        if given is not None:
            headers = headers_back(given.headers, _name(peer.peer))
            content_type = given.headers.get(b"content-type", b"application/json").decode("latin-1")
            return Response((given.body,), content_type=content_type, headers=headers)
        return await _answered(here, _with_less_time(request, left_s - (time.monotonic() - started_s)))

    async def _ask(self, request: Request, wanted: Wanted, peer: PeerState, left_s: float) -> Given | None:
        """Return a neighbour's answer, or None: then nothing of one has reached anybody."""
        headers = headers_for(request.headers, wanted, request.body, left_s)
        client = self._clients.get(peer.peer)
        if client is None:
            return None
        silence_s = self._settings.silence_s
        try:
            with anyio.fail_after(min(left_s, silence_s)):
                given = await client.ask(path_of(wanted, request.query_string), headers, request.body)
        except FAILURES as error:
            if isinstance(error, TimeoutError) and left_s < silence_s:  # the request's time is over: not its fault
                self.passed[_name(peer.peer), "late"] += 1
            else:
                self._failed(peer, str(error) or type(error).__name__)
            return None
        now_s = time.monotonic()
        if given.status == _OK:
            load = load_of(given.headers)
            if load is None or given.headers.get(b"content-type") not in _TYPES:
                self._failed(peer, "what it answers is no neighbour's answer")
                return None
            peer.tell(load, now_s)
            self.passed[_name(peer.peer), "answered"] += 1
            return given
        if given.status == _NOT_FOUND:
            peer.lacks(wanted, now_s + self._settings.lacking_s)
        else:
            peer.rest(now_s + self._settings.busy_s)
        self.passed[_name(peer.peer), "refused"] += 1
        return None

    def _failed(self, peer: PeerState, reason: str) -> None:
        name, bounds = _name(peer.peer), self._settings
        self.passed[name, "failed"] += 1
        peer.rest(time.monotonic() + bounds.rest_s)
        text = "passing a request to %s at %s port %d: %s; it is answered here, and nothing is passed there for %g s"
        _log.warning(text, name, peer.peer.host, peer.peer.port, reason[:200], bounds.rest_s)


async def _answered(here: Handler, request: Request) -> Response:
    outcome = here(request)
    return outcome if isinstance(outcome, Response) else await outcome


def _with_less_time(request: Request, left_s: float) -> Request:
    headers: Mapping[bytes, bytes] = {
        **request.headers,
        TIMEOUT_HEADER: str(max(1, int(left_s * 1000))).encode(),
        PASSED_HEADER: b"1",
    }
    return Request(
        request.method,
        request.path,
        headers,
        request.body,
        query_string=request.query_string,
        params=request.params,
        peer=request.peer,
    )


def _name(peer: HandoverPeer) -> str:
    return peer.device or f"server-{(peer.certificate_sha256 or '')[:12]}"
