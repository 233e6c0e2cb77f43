"""What the API's routes work with: one value, made once at start and passed to each request."""

from collections.abc import Callable
from dataclasses import dataclass, field

from shoal_hub.audit.anchor import KeptAnchor
from shoal_hub.database import Database
from shoal_hub.devices.guesses import Guesses
from shoal_hub.events.changes import ChangeFeed
from shoal_hub.observe.exposition import HubMetrics
from shoal_hub.online_features.online import OnlineFeatures
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.requests import RateLimit
from shoal_hub.settings import Settings
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys


@dataclass(frozen=True)
class HubContext:
    """The open parts of one hub process."""

    settings: Settings
    database: Database
    artifacts: ArtifactStore
    authority: DeviceAuthority
    director: Director
    version_keys: VersionKeys
    trust: HubTrust
    changes: ChangeFeed
    broker_address: Callable[[], tuple[str, int]]
    """Where devices reach the broker; asked for late, as a supervised broker may take any free port."""
    api_url: str = ""
    """Where devices reach the API."""
    kept_anchor: KeptAnchor = field(default_factory=KeptAnchor)
    guesses: Guesses = field(init=False)
    device_fetches: RateLimit = field(init=False)
    metrics: HubMetrics = field(init=False)
    online_features: OnlineFeatures = field(init=False)

    def __post_init__(self) -> None:
        """Count wrong tokens, and devices' fetches over HTTPS, by the settings' bounds; open no store yet."""
        settings = self.settings
        fetches = RateLimit(settings.device_fetches_per_minute, "fetches", "SHOAL_DEVICE_FETCHES_PER_MINUTE")
        object.__setattr__(self, "device_fetches", fetches)
        guesses = Guesses(settings.wrong_tokens_per_minute, settings.wrong_tokens_per_minute_in_all)
        object.__setattr__(self, "guesses", guesses)
        object.__setattr__(self, "metrics", HubMetrics(self.database, settings))
        object.__setattr__(self, "online_features", OnlineFeatures(settings, self.database))
