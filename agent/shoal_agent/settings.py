"""Every setting and bound of the agent, with its unit. The command line and `SHOAL_AGENT_*` variables fill it."""

from dataclasses import dataclass, field
from pathlib import Path

from shoal_contract.reported import Runtime


@dataclass(frozen=True)
class LinkSettings:
    """Bounds of the link to the broker."""

    keepalive_s: int = 60
    connect_timeout_s: float = 10.0
    confirm_timeout_s: float = 20.0
    """How long a publish may wait for the broker's PUBACK."""
    unconfirmed_messages: int = 32
    """Publications that may wait for their PUBACK at a time; beyond it none is taken."""
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 60.0
    will_delay_s: int = 30
    """How long the broker waits before it tells the hub that the device is gone."""
    receive_maximum: int = 4
    """Unconfirmed messages that the broker may send at a time."""
    report_pause_s: float = 0.25
    """Between two reported states: what changes meanwhile goes into one."""
    inbox_messages: int = 64
    """Messages per topic that may wait for their reader; beyond it the oldest is dropped with a warning."""


@dataclass(frozen=True)
class FetchSettings:
    """Bounds of a transfer."""

    silence_s: float = 10.0
    """A retained topic that stays silent this long is missing."""
    fast_chunk_s: float = 3.0
    """While a chunk takes less, up to `window` chunks are asked for at once; else one."""
    window: int = 4
    chunk_attempts: int = 3
    retry_min_s: float = 1.0
    retry_max_s: float = 60.0


@dataclass(frozen=True)
class OutboxSettings:
    """Bounds of the outbox."""

    max_messages: int = 20_000
    max_bytes: int = 64 * 1024 * 1024
    window: int = 20
    """Messages sent but not yet acknowledged by the hub."""
    resend_min_s: float = 5.0
    resend_max_s: float = 60.0


@dataclass(frozen=True)
class TrainingSettings:
    """Limits of the child process in which a federated round trains."""

    max_memory_bytes: int = 2 * 1024 * 1024 * 1024
    """Address space; the runtime maps far more than it uses."""
    max_cpu_s: int = 3600
    max_examples: int = 1_000_000
    nice: int = 10


@dataclass(frozen=True)
class RenewalSettings:
    """When the device's certificate is renewed, and how often that is tried again."""

    share: float = 2 / 3
    """Of the certificate's life, after which it is renewed."""
    spread: float = 0.05
    """Of the certificate's life, over which devices of one batch spread."""
    look_s: float = 3600.0
    """How often the clock is looked at: it may be set while the agent waits."""
    retry_min_s: float = 60.0
    retry_max_s: float = 6 * 3600.0


@dataclass(frozen=True)
class TrustSettings:
    """Bounds of what the device takes from a TUF repository, and when it asks."""

    first_wait_s: float = 10.0
    """How long a start waits for the metadata at the broker before it asks over HTTPS."""
    settle_s: float = 0.5
    """Wait after a new timestamp or index: the other of the two follows."""
    every_s: float = 24 * 3600.0
    """A refresh happens at the latest after this."""
    retry_min_s: float = 5.0
    retry_max_s: float = 3600.0
    """Longest wait between refreshes that change nothing."""
    silence_s: float = 10.0
    """A retained topic, or a server, that stays silent this long is given up."""
    total_s: float = 60.0
    """The whole of one refresh; who sends a byte at a time does not hold it up for ever."""
    total_bytes: int = 16 * 1024 * 1024
    """The whole of one refresh."""
    timestamp_bytes: int = 16 * 1024
    snapshot_bytes: int = 2_000_000
    targets_bytes: int = 5_000_000
    root_rotations: int = 256
    """Root versions that one refresh may step through."""
    delegations: int = 32
    """Roles that the search for one target may visit."""
    save_clock_s: float = 3600.0
    """How often the time is kept on disk."""


@dataclass(frozen=True)
class SiteSettings:
    """Whether this device may serve its site, and bounds of both sides of a site's cache."""

    host: str = ""
    """Address on the LAN on which this device serves, if the hub names it as its site's cache; empty: it never does."""
    port: int = 8471
    connect_s: float = 6.0
    """How long connecting to the cache may take, handshake included."""
    chunk_s: float = 15.0
    """How long one chunk may take from asking on, connecting included: what a cache that fails costs a transfer."""
    min_bytes_per_s: float = 50_000.0
    """A cache that serves one artifact more slowly than this, after the first `chunk_s`, counts as failed."""
    rest_s: float = 300.0
    """A cache that was away, slow or wrong is not asked for so long."""
    lacking_s: float = 30.0
    """A cache that does not have an artifact is not asked for it for so long."""
    max_connections: int = 256
    """Open connections to the cache; more are closed at once."""
    handshakes_per_s: float = 50.0
    """Connections that the cache takes up in a second; others wait."""
    handshake_s: float = 5.0
    """How long a neighbour may take for the handshake."""
    idle_s: float = 30.0
    """How long a connection may stay without a whole request."""
    answer_s: float = 30.0
    """How long a neighbour may take to read one chunk."""
    max_head_bytes: int = 2048
    """A request that is longer ends its connection."""
    max_bytes_per_s: float = 50_000_000.0
    """What the cache sends in a second, to all neighbours together."""


@dataclass(frozen=True)
class AgentSettings:
    """Where the agent keeps its data, where it serves, and its bounds."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    """Port of the Open Inference Protocol endpoint; 0 takes a free one."""
    runtimes: tuple[Runtime, ...] = ()
    """Runtimes to use; none stands for all that are installed."""
    boot_attempts: int = 3
    """Starts that an unproven version may fail before the previous one comes back."""
    link: LinkSettings = field(default_factory=LinkSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    renewal: RenewalSettings = field(default_factory=RenewalSettings)
    trust: TrustSettings = field(default_factory=TrustSettings)
    site: SiteSettings = field(default_factory=SiteSettings)
