"""This device's part in handing requests over, by its site's policy: it passes on, and it takes."""

import ssl
from functools import partial

from anyio.abc import TaskGroup

from shoal_agent.clock import Clock
from shoal_agent.endpoint import EndpointError, Handler
from shoal_agent.errors import SiteError, cause_of
from shoal_agent.handover.handover import Handover
from shoal_agent.handover.server import HandoverServer, Place
from shoal_agent.identity import PAIR, Identity
from shoal_agent.metrics.exposition import Family, Sample
from shoal_agent.serving import Inference
from shoal_agent.serving.passing import AskedOf
from shoal_agent.settings import HandoverSettings
from shoal_agent.site.peers import asking_context, asking_server_context, device_of, listening_context
from shoal_contract.desired import DesiredSite, HandoverPeer


class Neighbours:
    """Follows the policy in the section `site`.

    Args:
        inference: Answers here.
        identity: Who this device is.
        now: Trusted time.
        settings: Whether and where this device takes requests, and all bounds.
    """

    def __init__(self, inference: Inference, identity: Identity, now: Clock, settings: HandoverSettings) -> None:
        self._identity = identity
        self._now = now
        self._settings = settings
        self._handover = Handover(inference, self._context, settings)
        place = Place(
            settings.host, settings.port, partial(listening_context, identity), partial(_read_again, identity)
        )
        self._server = HandoverServer(inference, self._identify, place)

    def pass_on(self, here: Handler, asked_of: AskedOf) -> Handler:
        """Return what answers requests: `here` does, or a neighbour."""
        return self._handover.handler(here, asked_of)

    async def converge(self, group: TaskGroup, site: DesiredSite | None) -> None:
        """Pass on and take by a site's policy from now on; the listener runs in the group.

        Raises:
            SiteError: This device takes no requests; it passes them on all the same.
        """
        policy = site.handover if site is not None else None
        await self._handover.follow(policy)
        devices = (peer.device for peer in policy.peers) if policy is not None else ()
        self._server.members = frozenset(device for device in devices if device is not None)
        if policy is None:
            await self._server.stop()
        elif not self._settings.host:
            message = "taking requests of the site's other devices: this device is not set up to listen for them"
            raise SiteError(message, "start its agent with --handover-host ADDRESS; it passes its own on meanwhile")
        elif not self._server.is_listening:
            await self._listen(group)

    async def _listen(self, group: TaskGroup) -> None:
        try:
            await group.start(self._server.listen)
        except Exception as error:
            cause = cause_of(error)
            if not isinstance(cause, EndpointError | OSError):
                raise
            remedy = "choose a free port and an address of this device, restart the agent"
            raise SiteError(f"taking requests of the site's other devices: {cause}", remedy) from error

    def families(self) -> list[Family]:
        """Return what became of requests that were passed on."""
        passed = sorted(self._handover.passed.items())
        samples = tuple(Sample(count, {"to": name, "outcome": outcome}) for (name, outcome), count in passed)
        text = "Requests that were passed to a neighbour, by what became of them there."
        return [Family("shoal_agent_requests_passed_total", "counter", text, samples)]

    def _context(self, peer: HandoverPeer) -> ssl.SSLContext:
        if peer.certificate_sha256 is not None:
            return asking_server_context(self._identity, peer.certificate_sha256)
        return asking_context(self._identity, self._now, peer.device or "")

    def _identify(self, certificate: bytes | None) -> str:
        return device_of(certificate, self._identity.ca_path.read_bytes(), self._now())


def _read_again(identity: Identity, context: ssl.SSLContext) -> None:
    """Take up a renewed certificate and newer CAs for the connections to come."""
    context.load_cert_chain(identity.folder / PAIR)
    context.load_verify_locations(cafile=str(identity.ca_path))
