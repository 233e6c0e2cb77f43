"""Keeps the device's trust up to date: when to refresh, over MQTT first and HTTPS second, and what follows from it.

Refreshes happen when the timestamp or the index at the broker changes, at boot, when something can not be believed
yet, when the hub's certificate is refused, and each day. python-tuf works in a thread meanwhile.
"""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream
from typing_extensions import Self

from shoal_agent.clock import Clock
from shoal_agent.errors import AgentError, HeldError
from shoal_agent.fetch import Fetcher
from shoal_agent.fetch_ways import RetainedSource
from shoal_agent.identity import Identity
from shoal_agent.settings import TrustSettings
from shoal_agent.tls import hub_context
from shoal_agent.trust import Keys
from shoal_agent.tuf.ca_bundle import CaBundle, bundle_ref
from shoal_agent.tuf.errors import TufError
from shoal_agent.tuf.feed import Feed
from shoal_contract import topics
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.errors import MessageError
from shoal_contract.reported import Problem, TrustReport
from shoal_contract.trust import CA_BUNDLE_TARGET, METADATA_PATH, TARGETS_PATH, manifest_target

if TYPE_CHECKING:
    from shoal_agent.tuf.client import TrustView, TufClient
    from shoal_agent.tuf.fetchers import BoundedFetcher
    from shoal_agent.tuf.http_fetcher import MakeContext

_log = getLogger(__name__)


class UnlistedError(HeldError):
    """No role of the hub's lists this manifest, as far as the device knows. It is checked again."""

    code = "manifest_held"


class Topics(RetainedSource, Protocol):
    """Where the retained topics are read and followed; the link, in production."""

    def subscription(self, topic: str) -> AbstractAsyncContextManager[MemoryObjectReceiveStream[bytes]]:
        """Receive what arrives on a topic."""


class Refresher:
    """The device's trust.

    Args:
        folder: Where verified metadata is kept, `<data>/trust/metadata`.
        root: The TUF root that came with enrolment.
        api_url: Where the hub's API is; empty where the device knows MQTT only.
        make_context: TLS to the API, without a client certificate.
        link: The broker's topics.
        artifacts: Fetches the CA bundle over MQTT.
        ca_bundle: The hub's CA certificates on disk.
        clock: Trusted time.
        settings: Bounds.
    """

    def __init__(
        self,
        *,
        folder: Path,
        root: bytes,
        api_url: str,
        make_context: "MakeContext",
        link: Topics,
        artifacts: Fetcher,
        ca_bundle: CaBundle,
        clock: Clock,
        settings: TrustSettings,
    ) -> None:
        self._folder = folder
        self._root = root
        self._api_url = api_url.rstrip("/")
        self._make_context = make_context
        self._link = link
        self._artifacts = artifacts
        self._ca_bundle = ca_bundle
        self._clock = clock
        self._settings = settings
        self._feed = Feed()
        self._client: TufClient | None = None
        self._using: BoundedFetcher | None = None
        self._lock = anyio.Lock()
        self._wake, self._news = anyio.Event(), anyio.Event()
        self._last_s = -1e9
        self._fruitless = 0
        self._problem: Problem | None = None
        self.view: TrustView | None = None
        """What is trusted; None until metadata has been verified since the start."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when another view is trusted, or a refresh begins or ceases to fail."""

    @classmethod
    def of(
        cls, folder: Path, identity: Identity, link: Topics, artifacts: Fetcher, clock: Clock, settings: TrustSettings
    ) -> Self:
        """Return the trust of an enrolled device, kept below `folder`."""
        return cls(
            folder=folder / "metadata",
            root=identity.trust_root,
            api_url=identity.api_url,
            make_context=partial(hub_context, identity.ca_path, clock),
            link=link,
            artifacts=artifacts,
            ca_bundle=CaBundle(identity.ca_path),
            clock=clock,
            settings=settings,
        )

    @property
    def directors(self) -> Keys:
        """The keys of the directors whose desired states are believed."""
        return self.view.directors if self.view else {}

    def report(self) -> TrustReport:
        """Return what the hub should know of the device's trust."""
        view = self.view
        return TrustReport(
            root_version=view.root_version if view else 0,
            timestamp_version=view.timestamp_version if view else 0,
            targets_version=view.targets_version if view else 0,
            epochs=tuple(sorted(int(name.rpartition("-")[2]) for name in self.directors))[-64:],
            floor_at=self._clock.floor,
            problem=self._problem,
        )

    def request(self) -> None:
        """Refresh soon: something can not be believed yet."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the hub's metadata, for ever."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow, topics.TRUST_TIMESTAMP, self._feed.take_timestamp)
            group.start_soon(self._follow, topics.TRUST_INDEX, self._feed.take_index)
            await self._load()
            with anyio.move_on_after(self._settings.first_wait_s):
                await self._wake.wait()
                await anyio.sleep(self._settings.settle_s)
            while True:
                await self.refresh()
                await self._wait()

    async def refresh(self) -> None:
        """Refresh over MQTT, else over HTTPS; what fails is told in the report."""
        async with self._lock:
            await self._refresh()

    async def check_manifest(self, name: str, version: int, ref: ArtifactRef) -> None:
        """Return if the model's role lists this manifest, after a refresh if need be.

        Raises:
            UnlistedError: It does not, or there is no way to know for now.
        """
        path = manifest_target(name, version, ref.sha256)
        async with self._lock:
            if await self._lists(path, ref):
                return
            if self._news.is_set() or time.monotonic() - self._last_s > self._settings.retry_min_s:
                await self._refresh()
                if await self._lists(path, ref):
                    return
        self.request()
        because = f": {self._problem.message}" if self._problem else ""
        message = f"checking the manifest of {name} version {version}: no trusted role lists {path}{because}"
        raise UnlistedError(message[:1000])

    async def _follow(self, topic: str, take: Callable[[bytes], bool]) -> None:
        async with self._link.subscription(topic) as messages:
            async for payload in messages:
                try:
                    is_new = take(payload)
                except MessageError as error:
                    _log.warning("%s: %s", topic, error)
                else:
                    if is_new or self._problem is not None:
                        self._news.set()
                        self._wake.set()

    async def _wait(self) -> None:
        """Wait until the next refresh is due; those that change nothing come ever more rarely."""
        settings = self._settings
        pause_s = min(settings.retry_max_s, settings.retry_min_s * 2.0 ** min(self._fruitless, 20))
        if self._problem is None:
            with anyio.move_on_after(settings.every_s):
                await self._wake.wait()
        with anyio.move_on_after(pause_s - (time.monotonic() - self._last_s)):
            await self._news.wait()
        await anyio.sleep(settings.settle_s)

    async def _load(self) -> None:
        """Take over what is on disk, so that a start without a hub knows its directors."""
        async with self._lock:
            client = await to_thread.run_sync(self._open)
            try:
                self.view = await to_thread.run_sync(client.load) or self.view
            except AgentError as error:
                _log.info("trust on disk: %s", error)
        self.on_change()

    async def _refresh(self) -> None:
        self._wake, self._news, self._last_s = anyio.Event(), anyio.Event(), time.monotonic()
        before, problem_before = self.view, self._problem
        failures: list[AgentError] = []
        for fetcher in await to_thread.run_sync(self._fetchers):
            try:
                await self._refresh_with(fetcher)
            except AgentError as error:
                _log.warning("%s", error)
                failures.append(error)
            else:
                failures.clear()
                break
        self._problem = failures[0].to_problem() if failures else None
        is_changed = self.view != before
        self._fruitless = 0 if is_changed else self._fruitless + 1
        if is_changed or self._problem != problem_before:
            self.on_change()

    async def _refresh_with(self, fetcher: "BoundedFetcher") -> None:
        client = await to_thread.run_sync(self._open)
        view = await to_thread.run_sync(client.refresh, fetcher)
        self._using = fetcher
        self.view = view
        if view.ca_bundle is not None and view.ca_bundle[0] != self._ca_bundle.sha256:
            ref = bundle_ref(*view.ca_bundle)
            path = await self._fetch_ca_bundle(client, fetcher, ref)
            await to_thread.run_sync(self._ca_bundle.replace_by, path, ref.sha256)

    async def _fetch_ca_bundle(self, client: "TufClient", fetcher: "BoundedFetcher", ref: ArtifactRef) -> Path:
        if fetcher.where == "MQTT":
            return await self._artifacts.fetch(ref, is_urgent=True)

        def download() -> Path:
            target = client.find(CA_BUNDLE_TARGET, fetcher)
            if target is None:
                raise TufError("tuf_invalid", f"fetching {CA_BUNDLE_TARGET}: it is listed no longer")
            base_url = f"{self._api_url}{TARGETS_PATH}"
            return client.download(target, self._folder.parent / "targets", base_url, fetcher)

        return await to_thread.run_sync(download)

    async def _lists(self, path: str, ref: ArtifactRef) -> bool:
        client, fetcher = self._client, self._using
        if client is None or fetcher is None:
            return False
        try:
            target = await to_thread.run_sync(client.find, path, fetcher)
        except AgentError as error:
            _log.info("%s", error)
            return False
        return target is not None and (target.hashes.get("sha256"), target.length) == (ref.sha256, ref.size_bytes)

    def _open(self) -> "TufClient":
        from shoal_agent.tuf.client import TufClient

        if self._client is None:
            url = f"{self._api_url}{METADATA_PATH}"
            self._client = TufClient(self._folder, url, self._root, self._clock, self._settings)
        return self._client

    def _fetchers(self) -> "list[BoundedFetcher]":
        from shoal_agent.tuf.fetchers import RetainedFetcher
        from shoal_agent.tuf.http_fetcher import HttpFetcher

        over_mqtt = RetainedFetcher(self._link, self._feed, self._settings)
        if not self._api_url:
            return [over_mqtt]
        # The metadata vouches for itself: it is read even where the hub's certificate is by a CA not known yet.
        return [over_mqtt, HttpFetcher(self._settings, self._make_context, reads_untrusted=True)]
