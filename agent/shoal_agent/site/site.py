"""This device's part in its site: the cache, a neighbour of it, or nobody's. Follows the section `site`."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from anyio.abc import TaskGroup

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import Clock
from shoal_agent.errors import SiteError
from shoal_agent.fetch import AskNearby
from shoal_agent.identity import Identity
from shoal_agent.sections import Sections
from shoal_agent.settings import SiteSettings
from shoal_agent.site.client import SiteClient
from shoal_agent.site.exchange import Count
from shoal_agent.site.server import SiteServer
from shoal_contract.desired import DesiredSite
from shoal_contract.reported import SectionReport
from shoal_contract.transfer import TransferManifest

SECTION = "site"
HandOver = Callable[[TaskGroup, DesiredSite | None], Awaitable[None]]
"""Has requests passed on and taken by the site's policy; raises a SiteError where that is not possible."""


class Site:
    """Takes up what the hub wants of this device on its LAN.

    Args:
        identity: Who this device is.
        now: Trusted time.
        blobs: What a cache serves.
        settings: Whether and where this device may serve, and all bounds.
        report: Takes the section's report when the cache fails or serves again.
        count: Told of what passes between this device and others of the site.
    """

    def __init__(
        self,
        identity: Identity,
        now: Clock,
        blobs: BlobStore,
        settings: SiteSettings,
        report: Callable[[str, SectionReport], None],
        count: Count = lambda _: None,
    ) -> None:
        self._device_id = identity.device_id
        self._settings = settings
        self._report = report
        self._server = SiteServer(identity, now, blobs, settings, count)
        self._client = SiteClient(identity, now, settings, self._tell, count)
        self._wanted: DesiredSite | None = None
        self.hand_over: HandOver | None = None
        """Set before `follow`, where this device serves inference."""

    def visit(self, manifest: TransferManifest) -> AbstractAsyncContextManager[AskNearby]:
        """Return the context in which chunks of one artifact are asked of the site's cache."""
        return self._client.visit(manifest)

    def serve_in(self, group: TaskGroup) -> None:
        """Run the server in this task group, whenever this device is the cache."""
        self._group = group

    def follow(self, wanted: DesiredSite | None, sections: Sections) -> None:
        """Serve and ask by this from now on: who is out of it is refused at once."""
        self._wanted = wanted
        is_cache = wanted is not None and wanted.cache == self._device_id
        self._server.site = wanted if is_cache else None
        self._client.follow(None if is_cache else wanted)
        if wanted is not None or sections.keys(SECTION):
            sections.want(SECTION, wanted, "", self._converge)

    async def _converge(self) -> None:
        """Hand requests over by the policy; listen if this device is the cache, and else not."""
        problem = await self._converge_handover()
        await self._converge_cache()
        if problem is not None:
            raise problem

    async def _converge_handover(self) -> SiteError | None:
        try:
            if self.hand_over is not None:
                await self.hand_over(self._group, self._wanted)
        except SiteError as error:
            return error
        return None

    async def _converge_cache(self) -> None:
        if self._server.site is None:
            await self._server.stop()
        elif not self._settings.host:
            message = f"being the cache of site {self._server.site.name}: this device is not set up to listen on a LAN"
            remedy = "start its agent with --site-host ADDRESS, or name another cache: shoal sites set"
            raise SiteError(message, remedy)
        elif not self._server.is_listening:
            await self._group.start(self._server.listen)

    def _tell(self, problem: SiteError | None) -> None:
        state = SectionReport(state="applied") if problem is None else _failed(problem)
        self._report(SECTION, state)


def _failed(problem: SiteError) -> SectionReport:
    return SectionReport(state="failed", problem=problem.to_problem())
