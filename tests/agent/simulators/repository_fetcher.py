"""Reads a repository in memory as the real fetchers do, and what an attacker in between makes of it."""

from collections import Counter
from collections.abc import Iterator

from tests.simulators.tuf_repository import TufRepository
from tuf.api.exceptions import DownloadHTTPError

from shoal_agent.settings import TrustSettings
from shoal_agent.tuf.fetchers import BoundedFetcher


class MemoryFetcher(BoundedFetcher):
    """A fetcher over `repository.files`; `forged` takes precedence, and `hidden` names answer 404."""

    where = "memory"

    def __init__(self, repository: TufRepository, settings: TrustSettings | None = None) -> None:
        super().__init__(settings or TrustSettings())
        self.repository = repository
        self.forged: dict[str, bytes] = {}
        self.hidden: set[str] = set()
        self.asked: Counter[str] = Counter()

    def _read(self, url: str) -> Iterator[bytes]:
        name = url.rsplit("/", 1)[-1].removesuffix(".json")
        self.asked[name] += 1
        data = self.forged.get(name) or self.repository.files.get(name)
        if data is None or name in self.hidden:
            raise DownloadHTTPError(name, 404)
        yield data
