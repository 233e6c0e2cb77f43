"""What the API says of devices, enrolment tokens and drift."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """A value of the API; fields that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Problem(Value):
    """An error of a device, with its remedy."""

    code: str
    message: str
    remedy: str


class Hardware(Value):
    """What a device is."""

    kind: str
    model: str
    architecture: str
    cores: int
    memory_bytes: int
    l4t: str | None = None


class Fallback(Value):
    """What a device has answer instead of a version of whose features so many have drifted, by its own evidence."""

    version: int
    since_at: datetime
    features: int


class RunningModel(Value):
    """What a device says of one model; `section` is how far it is with its desired state."""

    version: int | None
    target: str | None
    section: str | None
    problem: Problem | None
    fallback: Fallback | None = None


class Section(Value):
    """How far a device is with one section of its desired state: applied, working, failed, held."""

    state: str
    step: str = ""
    problem: Problem | None = None


class Device(Value):
    """A device in a list; `sections` are those that are no model, like `features/pumps` or `site`."""

    id: str
    name: str
    group: str
    tags: dict[str, str]
    presence: Literal["online", "offline", "never"]
    presence_since: datetime | None
    presence_reason: str
    last_seen_at: datetime | None
    clone_seen_at: datetime | None = None
    """When its identity was last seen in two places; None for never."""
    enrolled_at: datetime
    revoked_at: datetime | None
    decommissioned_at: datetime | None
    certificate_expires_at: datetime | None
    hardware: Hardware | None
    agent_version: str | None
    targets: list[str]
    models: dict[str, RunningModel]
    sections: dict[str, Section] = {}
    problem: Problem | None


class Desired(Value):
    """The desired state that stands for a device: versions by model, rounds by run, and the site that it is told of."""

    epoch: int
    generation: int
    issued_at: datetime
    expires_at: datetime
    is_reported: bool
    models: dict[str, int]
    federated: dict[str, int]
    site: str | None = None


class Certificate(Value):
    """A certificate that a device was given; `key_sha256` is the fingerprint of its key, `authority` of its CA."""

    serial: str
    key_sha256: str
    authority: str
    issued_at: datetime
    expires_at: datetime
    retired_at: datetime | None


class DeviceDetail(Device):
    """One device with all that the hub knows of it."""

    certificate_serial: str
    revoked_by: str
    revoke_reason: str
    cut_off_at: datetime | None
    """When the broker was seen to refuse a revoked device; until then it may still be connected."""
    cleared_at: datetime | None
    """When the broker was last seen to keep nothing of a decommissioned device."""
    certificates: list[Certificate]
    public_key_sha256: str
    encryption_key: str | None
    reported_at: datetime | None
    reported: dict[str, Any] | None
    desired: Desired | None
    conflicts: list[dict[str, Any]]


class Token(Value):
    """An enrolment token without its secret."""

    id: str
    label: str
    group: str
    tags: dict[str, str]
    ca_sha256: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    uses_left: int
    revoked_at: datetime | None


class NewToken(Token):
    """A new enrolment token; `token` is shown this once."""

    token: str


class AuthorisedKey(Value):
    """A key that may enrol without a token, or the device that it became."""

    key_sha256: str
    name: str
    group: str
    tags: dict[str, str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    device_id: str | None


class PendingEnrolment(Value):
    """A device that asked without a token: it waits, or was accepted or rejected and has not asked again."""

    key_sha256: str
    name: str
    hardware: Hardware
    address: str
    state: Literal["waiting", "accepted", "rejected"]
    group: str
    tags: dict[str, str]
    first_asked_at: datetime
    last_asked_at: datetime
    decided_by: str


class CaRotation(Value):
    """How far a change of the devices' CA is, and how many devices and tokens still depend on the old one."""

    phase: Literal["steady", "announced", "switched"]
    issuing: str
    trusted: list[str]
    devices_left: int
    tokens_left: int


class Event(Value):
    """One event."""

    id: int
    at: datetime
    received_at: datetime
    device_id: str | None
    kind: str
    subject: str
    severity: Literal["info", "warning", "error"]
    message: str
    body: dict[str, Any]


class LeadingFeature(Value):
    """A feature that has moved.

    By the plain rule: what each test says of it, and the share of missing values; None is what was not tested. By the
    controlled rule: the evidence that a device has most of, as log10 of an e-value, and on how many devices it
    suffices.
    """

    name: str
    kind: str | None = None
    """`numeric` or `categorical`."""
    ks: float | None = None
    resolution: float | None = None
    """How far the distance of the raw values may lie above `ks`."""
    psi: float | None = None
    p_value: float | None = None
    """Of the KS distance, of categories of the chi-squared test; corrected for the number of features."""
    raw_p_value: float | None = None
    jensen_shannon: float | None = None
    jensen_shannon_floor: float | None = None
    chi_squared: float | None = None
    chi_squared_degrees: int | None = None
    mean: float | None = None
    mean_change: float | None = None
    mean_p_value: float | None = None
    variance_ratio: float | None = None
    variance_p_value: float | None = None
    missing_ratio: float | None = None
    seen_by: list[str] = Field(default_factory=list)
    """Tests that see a change by themselves: p of this feature alone below 0.05, PSI at least 0.2."""
    log10_e: float | None = None
    devices: int | None = None


class MovedEmbedding(Value):
    """How far an embedding has moved: the squared kernel distance (MMD) less what it has by sampling alone."""

    distance_squared: float
    floor: float
    p_value: float
    uncorrelated_p_value: float
    samples: int


class DriftSignal(Value):
    """That what a version sees has moved away from what it was trained on."""

    id: str
    model: str
    version: int
    rule: str
    state: str
    raised_at: datetime
    updated_at: datetime
    cleared_at: datetime | None
    devices: list[str]
    samples: int
    features: list[LeadingFeature]
    embedding: MovedEmbedding | None = None


class Window(Value):
    """What a device counted in one window of time; `labelled` samples had their true label come back."""

    device_id: str
    model: str
    version: int
    started_at: datetime
    ended_at: datetime
    requests: int
    samples: int
    errors: int
    predictions: list[int]
    latency: list[int]
    labelled: int = 0
    correct: int = 0
    misfits: dict[str, int] | None = None
    """Requests that did not fit the model's schema, by what; None: there were none, or the hub tells none."""
    left_out: dict[str, str] | None = None
    """What the window does not tell, and why."""
    unsketched: int = 0
    """Of the samples, those that the counts of features leave out: more came than the device sketches."""


class QuarantinedWindow(Value):
    """A window that the hub did not merge, and why."""

    id: int
    device_id: str
    model: str
    version: int
    reason: str
    message: str
    started_at: datetime
    ended_at: datetime
    requests: int
    samples: int
    received_at: datetime


class Health(Value):
    """That a hub answers, and which version it is."""

    status: str
    version: str
