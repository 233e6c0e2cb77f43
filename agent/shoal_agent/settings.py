"""Every setting and bound of the agent, with its unit. The command line and `SHOAL_AGENT_*` variables fill it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from shoal_agent.endpoint.limits import EndpointLimits
from shoal_agent.idle_settings import BatchJobSettings, BenchmarkSettings
from shoal_contract.reported import Runtime

MEGABYTE: Final = 1_000_000
Provider = Literal["tensorrt", "cuda", "cpu"]
"""Execution providers of ONNX Runtime, best first."""


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
    receive_maximum: int = 4
    """Unconfirmed messages that the broker may send at a time."""
    report_pause_s: float = 0.25
    """Between two reported states: what changes meanwhile goes into one."""
    report_linger_s: float = 1.0
    """How long a change waits for others; how a deployment ended, or a problem, does not."""
    report_progress_s: float = 30.0
    """How long it waits while a section is on its way, whose end brings a report; steps are told by events meanwhile.
    Less than the hub waits before it sends a desired state again."""
    report_trust_s: float = 600.0
    """How long what the device trusts waits for another report: nobody acts on it, but for a problem with it."""
    inbox_messages: int = 64
    """Messages per topic that may wait for their reader; beyond it the oldest is dropped with a warning."""


@dataclass(frozen=True)
class FetchSettings:
    """Bounds of a transfer."""

    silence_s: float = 10.0
    """A retained topic that stays silent this long is missing."""
    fast_chunk_s: float = 3.0
    """While a chunk takes less, more and more are under way at a time, up to `window`; else fewer, down to one."""
    window: int = 16
    """Chunks under way at a time, at most; half of them are asked for in one packet."""
    chunk_attempts: int = 3
    https_after: int = 2
    """Tries at the broker that fail before one goes to the hub over HTTPS; from there on they take turns."""
    held_list_s: float = 3600.0
    """How long the list of a file is remembered that the month's budget holds back: trying again then costs nothing."""
    retry_min_s: float = 1.0
    retry_max_s: float = 60.0


@dataclass(frozen=True)
class LedgerSettings:
    """How often the byte ledger is written and told to the hub."""

    save_s: float = 60.0
    save_bytes: int = 256 * 1024
    """Counted bytes after which it is written before `save_s` have passed."""
    reserve_bytes: int = 1024 * 1024
    """Where there is a monthly budget: what counts as spent beyond what was asked for, if the power is cut."""
    report_s: float = 600.0
    """A heartbeat carries the ledger at least so often, if it has changed."""
    report_bytes: int = 256 * 1024
    """What the ledger grows by before a heartbeat carries it sooner."""


@dataclass(frozen=True)
class OutboxSettings:
    """Bounds of the outbox."""

    max_messages: int = 20_000
    max_bytes: int = 64 * 1024 * 1024
    window: int = 64
    """Messages sent but not yet acknowledged by the hub."""
    batch_messages: int = 32
    """Messages that travel together at most."""
    batch_bytes: int = 16 * 1024
    """What they may come to; a larger message travels alone. At 64 kbit/s this takes three seconds."""
    linger_s: float = 2.0
    """How long a step of a deployment, or a window, waits for others to travel with; what the hub has to act on
    does not wait, and takes along what does."""
    ending_s: float = 0.5
    """How long the end of a deployment waits for the reported state that says the same, to travel in it."""
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
class HandoverSettings:
    """Whether this device may take requests of its site's others, and bounds of both sides of passing them on."""

    host: str = ""
    """Address on the LAN at which neighbours may ask, if the hub has the site pass requests on; empty: none."""
    port: int = 8472
    connect_s: float = 1.0
    """How long connecting to a neighbour may take, handshake included."""
    silence_s: float = 5.0
    """A neighbour that has not answered by then is given up, and the request is answered here."""
    rest_s: float = 10.0
    """A neighbour that was away, silent or wrong gets nothing for so long."""
    busy_s: float = 0.2
    """One that refused as overloaded gets nothing for so long."""
    lacking_s: float = 10.0
    """One that does not serve a version is not asked for it for so long."""
    fresh_s: float = 0.5
    """How long what a neighbour says of its load counts."""
    idle_s: float = 60.0
    """A connection that was not used for so long is not used again."""
    max_outstanding: int = 16
    """Requests that one neighbour has from this device at a time."""
    max_answer_bytes: int = 16 * MEGABYTE
    """A longer answer is not taken."""


@dataclass(frozen=True)
class UpdateSettings:
    """Bounds of updates on this device, whatever a rollout's policy asks."""

    recheck_s: float = 15.0
    """How often an update that waits looks again at clock, windows and veto."""
    reserve_bytes: int = 64 * MEGABYTE
    """What an update leaves free on the disk, for reports, sketches and everybody else."""
    max_models_bytes: int = 0
    """What models and their updates may take on the disk together; 0: as much as there is."""
    watch_s: float = 600.0
    """For so long after it was committed, a version that keeps failing gives way to the one before."""
    watch_failures: int = 5
    """Requests in a row that the runtime fails on, before the self-test is repeated."""


@dataclass(frozen=True)
class EngineSettings:
    """What runtimes may use of the device, and bounds of what they take."""

    providers: tuple[Provider, ...] = ()
    """ONNX Runtime's execution providers to use, in this order, and no others; none: TensorRT and CUDA where there is
    a GPU, then the CPU."""
    without_providers: tuple[Provider, ...] = ()
    """Execution providers never to use."""
    delegates: tuple[str, ...] = ()
    """Libraries of LiteRT delegates to use, in this order, such as `libedgetpu.so.1`; then the CPU."""
    gpu_memory_bytes: int = 0
    """What a model may take of the GPU's memory, workspace aside; 0: a third of the board's memory."""
    gpu_workspace_bytes: int = 256 * MEGABYTE
    """What TensorRT may take besides, while it builds an engine."""
    engine_cache_bytes: int = 512 * MEGABYTE
    """What TensorRT's engines may take on the disk, those of versions that serve aside; 0: none is kept."""
    warmup_s: float = 1.0
    """How long settings are measured when a version is loaded for the first time; one that was begun is measured to its
    end. 0: none is, and a model runs in one thread."""
    most_threads: int = 0
    """Threads of one run, at most; 0: as many as there are cores."""
    least_gain_ratio: float = 0.1
    """Of a run's time, which more threads, or an arena, have to save."""
    most_cpu_ratio: float = 1.5
    """CPU time that a run with more threads may take, in that of one thread."""
    arena_bytes: int = 32 * MEGABYTE
    """What a model may take for an arena of its own, if that is faster."""
    check_s: float = 60.0
    """How long a runtime that is new to this board may take for its check, in a process of its own."""


@dataclass(frozen=True)
class SheddingSettings:
    """When requests to less important models are refused, because the device is too hot or short of memory."""

    soft_c: float | None = None
    """From this temperature on, °C, models of the lowest priority wait. None: 80 on a Raspberry Pi, whose firmware
    slows it down from there on; elsewhere 5 below the kernel's passive trip point, and without one never."""
    hard_c: float | None = None
    """From this one on all do but those of the highest priority. None: 85 on a Raspberry Pi, else that trip point."""
    hysteresis_c: float = 5.0
    """It has to cool down so far below a limit before requests are taken again."""
    soft_free_ratio: float = 0.08
    """Of the memory: with less that programs could still take, models of the lowest priority wait."""
    hard_free_ratio: float = 0.04
    """With less all do but those of the highest priority."""
    free_hysteresis_ratio: float = 0.04
    """So much more has to be free before requests are taken again."""
    priorities: tuple[tuple[str, int], ...] = ()
    """Of models by name; those not named have 0, and a higher one is more important."""
    look_s: float = 5.0
    """How often temperature and memory are looked at."""
    retry_after_s: int = 30
    """What a refused client is told to wait."""
    quiet_s: float = 600.0
    """Without anything shed for so long, an episode is over; the hub is told once of each."""


@dataclass(frozen=True)
class ServingPlaces:
    """Where the Open Inference Protocol is spoken."""

    host: str = "127.0.0.1"
    port: int = 8080
    """Port on loopback; 0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, beside localhost and its addresses, by which loopback may be asked."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages that may ask on loopback, such as `https://panel.example`."""
    socket: Path | None = None
    """Path of a Unix-domain socket, for programs of this device's owner and group."""
    grpc_port: int | None = None
    """Port on loopback for gRPC, which needs the extra `grpc`; 0 takes a free one; None: none."""
    remote_host: str = ""
    """Address for others than this device, by TLS and a key; empty: none."""
    remote_port: int = 8443
    """Port of that address; 0 takes a free one."""
    certificate: Path | None = None
    """PEM file of the certificate chain that others see."""
    key: Path | None = None
    """PEM file of its private key."""


@dataclass(frozen=True)
class FeatureSettings:
    """What pipelines of features may reach and take, whatever the hub asks."""

    folders: tuple[Path, ...] = ()
    """Folders whose files pipelines may read and write; none stands for `streams` in the data folder."""
    hooks_file: Path | None = None
    """Where the device's owner says which commands results may go to."""
    max_line_bytes: int = 64 * 1024
    """A longer line is thrown away and counted."""
    max_message_bytes: int = 1024 * 1024
    """A larger message of a source is thrown away and counted."""
    batch_messages: int = 2048
    """Messages that are computed in one go."""
    ahead_s: float = 60.0
    """An event whose time is so far beyond the device's clock is refused: it would close every window."""
    grace_s: float = 1.0
    """How much longer than its lateness a window waits for an entity that is silent while time goes on."""
    tick_s: float = 1.0
    """How often windows are closed by the clock, at least."""
    save_s: float = 30.0
    """How often open windows are written to the disk: what a power cut takes from them."""
    retry_min_s: float = 1.0
    retry_max_s: float = 60.0
    """Waits between attempts at a source or a sink that fails."""
    report_pause_s: float = 30.0
    """Between two reports of one pipeline to the hub, if it fails and works in turn; the first is told at once."""
    sink_results: int = 256
    """Results that a sink gets in one go."""
    sink_timeout_s: float = 10.0
    max_entities: int = 10_000
    """Entities in the store; one more takes the place of the stalest."""
    max_store_bytes: int = 64 * MEGABYTE
    """What the store's file may hold; beyond it the stalest entities go."""


@dataclass(frozen=True)
class CaptureSendSettings:
    """Whether captured samples may go to the hub, if it asks for them, and bounds of that besides the owner's rules."""

    is_allowed: bool = False
    look_s: float = 60.0
    """How often it is looked for samples that are due."""
    budget_ratio: float = 0.5
    """Of the month's byte budget: with more of it spent no sample is sent, so that updates have room."""
    refused_pause_s: float = 3600.0
    """After the hub has refused one."""
    most_refusals: int = 3
    """Of one sample, after which it is passed over."""
    offer_again_s: float = 6 * 3600.0
    """How long a sample waits for the hub's word before it is offered again."""


@dataclass(frozen=True)
class ServingSettings:
    """Bounds that keep a small machine responsive and its memory in hand. Connections have theirs, `EndpointLimits`."""

    workers: int = 2
    """Requests that are decoded, inferred and encoded at a time."""
    max_waiting: int = 32
    """Requests that may wait for a worker; more get 429."""
    most_together: int = 8
    """Requests that are answered together, of those that wait, where a model was measured to gain by it."""
    max_stuck: int = 2
    """Runs over their time that other threads stand in for."""
    timeout_s: float = 60.0
    """A request that has not been answered by then gets 504, and its place is free."""
    priorities: tuple[tuple[str, int], ...] = ()
    """Of models by name: requests to higher ones that wait have their turn first; 0 where none is given."""
    most_at_once: tuple[tuple[str, int], ...] = ()
    """Runs of a model at a time, by name; of those not named as many as there are workers."""
    in_place_ms: float = 1.0
    """A kind of request that takes no longer is answered in the event loop instead of a worker."""
    max_inflated_bytes: int = 16 * 1024 * 1024
    """A compressed body may grow to so much."""
    cache_bytes: int = 0
    """What kept answers take at most; 0: none is kept, and no input is hashed."""
    cache_ttl_s: float = 3600.0
    """How long a kept answer is good for."""
    allow_non_finite: bool = False
    """Whether inputs may hold NaN and infinity."""


@dataclass(frozen=True)
class StreamSettings:
    """Bounds of the streams of predictions."""

    max_streams: int = 8
    """Open streams; one more gets 503."""
    max_waiting: int = 256
    """Events that a reader may be behind; one more takes the place of the oldest, and the reader is told how many."""
    heartbeat_s: float = 15.0
    """Without an event for so long a comment is sent, which tells that the stream lives."""
    max_values: int = 64
    """Of a sample: a prediction without classes that has more is not shown, but that there was one."""
    max_event_bytes: int = 8 * 1024
    """A larger prediction is not shown either."""


@dataclass(frozen=True)
class MemorySettings:
    """What loaded models may take together, and who may say which are loaded."""

    budget_bytes: int = 0
    """What models were measured to take may come to so much; 0: as much as there is."""
    loads_on_demand: bool = True
    """Whether a model that gave way is loaded when it is asked; else only when it is told to, or at the next start."""
    kept: tuple[str, ...] = ()
    """Models that never give way."""
    may_control: bool = False
    """Whether clients may have models loaded and unloaded."""
    most_waiting: int = 32
    """Requests that may wait for models to be loaded; more get 429."""
    load_turn_s: float = 60.0
    """How long a load waits for that of another model, so that each is measured by itself; then it goes ahead."""
    retry_after_s: int = 30
    """What a client is told to wait whose model finds no room."""


@dataclass(frozen=True)
class MonitorSettings:
    """What watching inputs may cost, of all models together; what is beyond is counted as `unsketched`."""

    max_values_per_s: float = 5_000_000.0
    """Values of inputs that are sketched each second, on average."""
    max_values_per_request: int = 1_000_000
    """Of a request with more, some samples are, evenly spaced."""
    save_evidence_s: float = 900.0
    """The evidence of drift of each version is written to the disk this often at most, and when the agent ends."""


@dataclass(frozen=True)
class AgentSettings:
    """Where the agent keeps its data, where it serves, and its bounds."""

    data_dir: Path
    places: ServingPlaces = field(default_factory=ServingPlaces)
    endpoint: EndpointLimits = field(default_factory=EndpointLimits)
    serving: ServingSettings = field(default_factory=ServingSettings)
    streams: StreamSettings = field(default_factory=StreamSettings)
    runtimes: tuple[Runtime, ...] = ()
    """Runtimes to use; none stands for all that are installed."""
    engines: EngineSettings = field(default_factory=EngineSettings)
    send_examples: bool = False
    """Whether a few inputs on which a trial's versions disagree may leave the device, if the hub asks for them."""
    capture_file: Path | None = None
    """The owner's rules of what is captured; None: the owner does not allow it."""
    send_captures: CaptureSendSettings = field(default_factory=CaptureSendSettings)
    batch_jobs: BatchJobSettings = field(default_factory=BatchJobSettings)
    benchmarks: BenchmarkSettings = field(default_factory=BenchmarkSettings)
    boot_attempts: int = 3
    """Starts that an unproven version may fail before the previous one comes back."""
    link: LinkSettings = field(default_factory=LinkSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    renewal: RenewalSettings = field(default_factory=RenewalSettings)
    trust: TrustSettings = field(default_factory=TrustSettings)
    site: SiteSettings = field(default_factory=SiteSettings)
    handover: HandoverSettings = field(default_factory=HandoverSettings)
    update: UpdateSettings = field(default_factory=UpdateSettings)
    shedding: SheddingSettings = field(default_factory=SheddingSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    time_zone: str = ""
    """IANA name of the zone that maintenance windows are in; empty: the system's."""
    probes_file: Path | None = None
    """What the device's owner has new versions pass before they are committed."""
    otlp_endpoint: str = ""
    """Where spans of deployments go, by OTLP over HTTP; empty: none are made."""
