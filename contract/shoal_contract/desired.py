"""Desired state: what the hub, signed by its director key, wants of one device.

The payload travels in a DSSE envelope (`shoal_contract.envelope`). The device applies and reports each section
by itself. `(epoch, generation)` orders states: the epoch is the number of the director key.
"""

from datetime import datetime
from typing import Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.batch_jobs import MAX_BATCHES, DesiredBatch
from shoal_contract.benchmarks import MAX_BENCHMARKS, DesiredBenchmark
from shoal_contract.captures import DesiredCaptures
from shoal_contract.compositions import MAX_COMPOSITIONS, DesiredComposition
from shoal_contract.encryption import WrappedKey
from shoal_contract.features import DesiredFeatures
from shoal_contract.ids import DeviceId, Host, Name, Sha256
from shoal_contract.limits import (
    MAX_BLOB_BYTES,
    MAX_HANDOVER_PEERS,
    MAX_INTEGER,
    MAX_SITE_MEMBERS,
)
from shoal_contract.update_policy import UpdatePolicy
from shoal_contract.wire import Count, Ordinal, UtcTime, WireMessage, WireValue

MAX_GENERATION: Final = MAX_INTEGER


class DesiredModel(WireValue):
    """Section `models/<name>`: serve this variant of this version.

    `deployment` names the attempt: a version that has failed is tried again only under a new one.
    """

    version: Ordinal
    target: Name
    manifest: ArtifactRef
    deployment: str = Field(max_length=64)
    key: WrappedKey | None = None
    """Of an encrypted version: its key, for this device alone."""
    policy: UpdatePolicy | None = None
    """How to go about it; none: at once."""
    is_urgent: bool = False
    """Fetched even where the month's byte budget does not allow it: a rollback, or what an operator has pinned."""


class DesiredRound(WireValue):
    """Section `federated/<run>`: take part in one federated round; superseded by the next round."""

    run: Name
    round: Ordinal
    dataset: Name
    trainer: ArtifactRef
    weights: ArtifactRef
    epochs: int = Field(ge=1, le=1000)
    batch_size: int = Field(ge=1, le=4096)
    learning_rate: float = Field(gt=0, le=10)
    seed: Count = 0
    update_scheme: Literal["float32", "int8"] = "float32"
    max_update_bytes: int = Field(ge=1, le=MAX_BLOB_BYTES)
    deadline_at: UtcTime


class DesiredTrial(WireValue):
    """Section `trials/<model>`: run a candidate beside the version that serves, and tell how the two compare.

    `shadow`: the candidate sees a share of the requests as well, behind the answer, and nobody gets what it says.
    `ab`: it answers that share of the request keys; the same key always gets the same version.
    """

    id: Name
    mode: Literal["shadow", "ab"]
    candidate: DesiredModel
    against: Ordinal
    """The trial rests while another version than this one serves."""
    share: float = Field(gt=0, le=1)
    """Of the requests (shadow) or of the request keys (ab)."""
    salt: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Has each trial split keys in a way of its own."""
    ends_at: UtcTime
    """The device stops by itself then, whether or not it hears of it."""
    max_cpu_share: float = Field(default=0.25, gt=0, le=64)
    """Seconds of running the candidate in shadow for each second; beyond it requests are skipped, and counted."""
    max_memory_bytes: int = Field(default=512 * 1024 * 1024, ge=1, le=MAX_INTEGER)
    """What the agent may grow by when the candidate is loaded; one that takes more ends the trial on this device."""
    tolerance: float = Field(default=0.0, ge=0)
    """Of outputs that choose no label: the largest absolute difference that counts as agreement."""
    hard_examples: int = Field(default=0, ge=0, le=16)
    """Inputs on which the two disagreed that may be sent of each window, if the device's owner lets any out."""


class DriftFallBack(WireValue):
    """The version before answers while the device's own evidence says that a model's inputs have drifted."""

    features: Ordinal = 1
    """That have to have drifted for that."""
    for_s: float = Field(default=3600.0, ge=60, le=30 * 86_400)
    """How long it answers before the version that is to serve is tried again."""


class DesiredConfig(WireValue):
    """Section `config`: how the agent behaves."""

    heartbeat_s: float = Field(default=60.0, ge=1, le=3600)
    """Between heartbeats; one is put off by a reported state, which says as much: they are twice this apart at most."""
    window_requests: int = Field(default=1000, ge=10, le=1_000_000)
    window_s: float = Field(default=60.0, ge=1, le=86_400)
    drift_tolerance: float | None = Field(default=None, ge=0.005, le=0.4)
    """Difference of a share of a feature's values from the reference's that is no drift to the device; None: 0.05."""
    drift_warm_up_windows: int | None = Field(default=None, ge=16, le=10_000)
    """Windows that the device learns from before it bets that something has drifted; None: 32."""
    drift_is_recentred: bool | None = None
    """Whether drift is told from what those windows looked like, in place of the reference; None: from the reference.

    For devices whose data have always been others than those of the training.
    """
    reconnect_jitter_s: float = Field(default=2.0, ge=0, le=3600)
    max_fetch_bytes_per_s: Ordinal | None = None
    """Most that artifacts may take of the uplink in a second, on average; one chunk at a time comes as fast as it can.

    What comes from a site's cache does not count. None: no cap.
    """
    max_bytes_per_month: Ordinal | None = None
    """Most that the uplink may carry in a month of UTC, both directions, by the device's own ledger.

    What does not fit any more is not fetched before the next month, unless it is urgent. Nothing that the device has to
    say is ever held back. None: no budget.
    """
    drift_fall_back: DriftFallBack | None = None
    """None: the version that serves answers, whatever comes."""


class HandoverPeer(WireValue):
    """Who takes requests: a device of the site, known by its certificate, or a server with just this certificate."""

    host: Host
    port: int = Field(ge=1, le=65_535)
    device: DeviceId | None = None
    certificate_sha256: Sha256 | None = None
    """Of the server's certificate as DER."""

    @model_validator(mode="after")
    def _check_who(self) -> Self:
        if (self.device is None) == (self.certificate_sha256 is None):
            msg = f"a peer at {self.host}: expected a device or a certificate, one of the two"
            raise ValueError(msg)
        return self


class DesiredHandover(WireValue):
    """A request that this device can not take in time goes to a less loaded peer that serves the same version."""

    peers: tuple[HandoverPeer, ...] = Field(default=(), max_length=MAX_HANDOVER_PEERS)
    """All others of the site; the devices among them may pass requests to this one, too."""
    patience_ms: int = Field(default=50, ge=0, le=60_000)
    """A request that would wait for longer than this is passed on."""


class DesiredSite(WireValue):
    """Section `site`: this device and its neighbours on one LAN have a cache of artifacts among them.

    A neighbour is told of the cache alone. The cache is told of its members, as it has to know whom to serve.
    """

    name: Name
    cache: DeviceId
    host: Host
    port: int = Field(ge=1, le=65_535)
    members: tuple[DeviceId, ...] = Field(default=(), max_length=MAX_SITE_MEMBERS)
    """Whom the cache serves; empty in the state of every other device."""
    handover: DesiredHandover | None = None
    """None: each answers its own requests."""


class DesiredState(WireMessage):
    """The payload of `down/desired`."""

    device_id: DeviceId
    epoch: int = Field(ge=1, le=MAX_GENERATION)
    generation: int = Field(ge=1, le=MAX_GENERATION)
    issued_at: UtcTime
    expires_at: UtcTime
    models: dict[Name, DesiredModel] = Field(default_factory=dict, max_length=64)
    federated: dict[Name, DesiredRound] = Field(default_factory=dict, max_length=16)
    trials: dict[Name, DesiredTrial] = Field(default_factory=dict, max_length=16)
    config: DesiredConfig = Field(default_factory=DesiredConfig)
    site: DesiredSite | None = None
    features: DesiredFeatures | None = None
    """Each of its pipelines is reported as `features/<name>`."""
    compositions: dict[Name, DesiredComposition] | None = Field(default=None, max_length=MAX_COMPOSITIONS)
    """By the names under which they are asked; each is reported as `compositions/<name>`."""
    captures: DesiredCaptures | None = None
    batches: dict[Name, DesiredBatch] | None = Field(default=None, max_length=MAX_BATCHES)
    benchmarks: dict[Name, DesiredBenchmark] | None = Field(default=None, max_length=MAX_BENCHMARKS)

    @property
    def order(self) -> tuple[int, int]:
        """`(epoch, generation)`; a device never goes back to a lower one."""
        return self.epoch, self.generation

    def is_expired(self, now: datetime) -> bool:
        """Whether the device may no longer *start* to act on this state."""
        return now >= self.expires_at
