"""Every setting of the hub: its environment variable, unit, default and meaning.

Read once at start by the process entries and passed down; nothing else looks at the environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError, field_validator

from shoal_contract.limits import DEFAULT_CHUNK_BYTES, MAX_ARTIFACT_BYTES, MAX_BLOB_BYTES, MAX_HTTPS_ARTIFACT_BYTES
from shoal_hub.alerts.settings import AlertSettings
from shoal_hub.batch_inference.settings import InferenceSettings
from shoal_hub.drift_history.settings import HistorySettings
from shoal_hub.errors import SettingsError
from shoal_hub.jobs.settings import JobSettings
from shoal_hub.observe.settings import ObserveSettings
from shoal_hub.operators.oidc_roles import parse_roles
from shoal_hub.setting import setting as _setting
from shoal_hub.tracking.settings import TrackingSettings
from shoal_hub.training.settings import TrainingSettings

Port = Annotated[int, Field(ge=0, le=65_535)]


def is_safe_url(url: str) -> bool:
    """Whether what is fetched there comes from whom the address names: HTTPS, or this machine."""
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return (parts.scheme == "https" and bool(parts.hostname)) or is_local


class Settings(
    AlertSettings, HistorySettings, InferenceSettings, JobSettings, ObserveSettings, TrackingSettings, TrainingSettings
):
    """The hub's settings; `Settings.read(os.environ)` reads them from `SHOAL_*`. Port 0 takes any free port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = _setting(
        "SHOAL_DATA",
        Path("~/.local/share/shoal"),
        "path",
        "Folder of the database, artifacts, keys, the broker's state and job logs.",
    )
    database_url: str = _setting(
        "SHOAL_DATABASE_URL",
        "",
        "URL",
        "postgresql://user@host/name for PostgreSQL; empty for hub.sqlite in the data folder.",
        is_secret=True,
    )
    artifacts_url: str = _setting(
        "SHOAL_ARTIFACTS_URL",
        "",
        "URL",
        "Where artifacts are kept, as fsspec names it (s3://bucket/prefix); empty for a folder in the data folder.",
    )
    online_features_url: str = _setting(
        "SHOAL_ONLINE_FEATURES_URL",
        "",
        "URL",
        "redis://host:port/0 of a Redis that keeps online features, for hubs on several machines; empty for "
        "online-features.sqlite in the data folder.",
        is_secret=True,
    )
    public_host: str = _setting(
        "SHOAL_PUBLIC_HOST",
        "localhost",
        "host name",
        "The name or address by which devices and operators reach this hub; it stands in the server's certificate.",
        min_length=1,
    )
    api_host: str = _setting("SHOAL_API_HOST", "0.0.0.0", "address", "Address that the API listens on.")  # noqa: S104
    api_port: Port = _setting("SHOAL_API_PORT", 8443, "port", "Port of the API and the console (HTTPS).")
    broker_url: str = _setting(
        "SHOAL_BROKER_URL",
        "",
        "URL",
        "mqtts://host:port of an MQTT 5 broker that runs elsewhere; empty: the hub supervises Mosquitto.",
    )
    broker_host: str = _setting("SHOAL_BROKER_HOST", "0.0.0.0", "address", "Address of the devices' listener.")  # noqa: S104
    broker_port: Port = _setting("SHOAL_BROKER_PORT", 8883, "port", "Port of the devices' listener (mutual TLS).")
    hub_listener_port: Port = _setting(
        "SHOAL_HUB_LISTENER_PORT", 0, "port", "Port of the hub's own listener on 127.0.0.1 (mutual TLS)."
    )
    mosquitto: str = _setting("SHOAL_MOSQUITTO", "mosquitto", "path", "The Mosquitto program, by name or path.")
    retained_budget_bytes: int = _setting(
        "SHOAL_RETAINED_BUDGET_BYTES",
        256 * 2**20,
        "bytes",
        "Artifact bytes that may stand retained at the broker.",
        ge=2**20,
    )
    max_artifact_bytes: int = _setting(
        "SHOAL_MAX_ARTIFACT_BYTES",
        512 * 2**20,
        "bytes",
        "The largest file that is rolled out; what is larger than 64 MiB comes to devices over HTTPS alone.",
        ge=2**20,
        le=MAX_HTTPS_ARTIFACT_BYTES,
    )
    device_fetches_per_minute: float = _setting(
        "SHOAL_DEVICE_FETCHES_PER_MINUTE",
        600.0,
        "1/min",
        "Ranges of a mebibyte at most that one device may fetch over HTTPS in a minute; as many at once.",
        ge=1,
    )
    delta_min_bytes: int = _setting(
        "SHOAL_DELTA_MIN_BYTES",
        DEFAULT_CHUNK_BYTES,
        "bytes",
        "The smallest model file for which deltas are made; what travels in one chunk gains too little by them.",
        ge=1,
    )
    delta_wait_s: float = _setting(
        "SHOAL_DELTA_WAIT_S",
        120.0,
        "s",
        "How long a rollout or a trial waits at most until its deltas are made and at the broker; then whole files go.",
        ge=0,
    )
    withdraw_grace_s: float = _setting(
        "SHOAL_WITHDRAW_GRACE_S", 30.0, "s", "Between withdrawing an artifact's manifest and clearing its chunks.", ge=0
    )
    presence_grace_s: float = _setting(
        "SHOAL_PRESENCE_GRACE_S",
        30.0,
        "s",
        "How long a device that has lost its connection still counts as online, as most come back within that time.",
        ge=0,
        le=86_400,
    )
    tick_s: float = _setting(
        "SHOAL_TICK_S", 5.0, "s", "How often the controller looks at the database when nobody wakes it.", gt=0, le=30
    )
    longest_rest_s: float = _setting(
        "SHOAL_LONGEST_REST_S",
        5.0,
        "s",
        "How long the controller gathers at most what devices report before it looks at rollouts again, while many of "
        "their devices are at it; operators' commands never wait.",
        ge=0,
        le=30,
    )
    longest_sweep_rest_s: float = _setting(
        "SHOAL_LONGEST_SWEEP_REST_S",
        60.0,
        "s",
        "How long the controller waits at most before it goes through all devices again, for what no word tells it; "
        "in a small fleet it is back sooner.",
        gt=0,
        le=3600,
    )
    automation_every_s: float = _setting(
        "SHOAL_AUTOMATION_EVERY_S",
        15.0,
        "s",
        "How often policies are looked at; where that takes long, less often.",
        ge=0.1,
        le=300,
    )
    desired_life_s: float = _setting(
        "SHOAL_DESIRED_LIFE_S", 30 * 86_400.0, "s", "How long a device may start to act on a desired state.", ge=60
    )
    window_retention_s: float = _setting(
        "SHOAL_WINDOW_RETENTION_S",
        35 * 86_400.0,
        "s",
        "How long windows of telemetry are kept; what a running rollout or trial compares with stays until it ends.",
        ge=86_400,
    )
    captures_retention_s: float = _setting(
        "SHOAL_CAPTURES_RETENTION_S",
        30 * 86_400.0,
        "s",
        "How long captured samples that devices have sent are kept.",
        ge=3600,
    )
    captures_max_bytes: int = _setting(
        "SHOAL_CAPTURES_MAX_BYTES",
        10 * 2**30,
        "bytes",
        "What captured samples of all devices may take at the hub; beyond it none is taken.",
        ge=0,
    )
    batch_answers_retention_s: float = _setting(
        "SHOAL_BATCH_ANSWERS_RETENTION_S",
        30 * 86_400.0,
        "s",
        "How long answers of batch jobs that devices have sent are kept.",
        ge=3600,
    )
    batch_answers_max_bytes: int = _setting(
        "SHOAL_BATCH_ANSWERS_MAX_BYTES",
        10 * 2**30,
        "bytes",
        "What answers of batch jobs of all devices may take at the hub; beyond it none are taken.",
        ge=0,
    )
    compression_max_bytes: int = _setting(
        "SHOAL_COMPRESSION_MAX_BYTES",
        10 * 2**30,
        "bytes",
        "What compression may keep of recipes' steps and searches, to find them again; beyond it the oldest go.",
        ge=0,
    )
    passphrase_file: str = _setting(
        "SHOAL_PASSPHRASE_FILE",
        "",
        "path",
        "File with the passphrase of the hub's keys, outside of the data folder; empty: systemd's credential "
        "shoal-passphrase, else hub-passphrase beside the CLI's profile. Read where keys are opened.",
    )
    hsm_pin_file: str = _setting(
        "SHOAL_HSM_PIN_FILE",
        "",
        "path",
        "File with the PIN of a PKCS #11 token that signs; empty: systemd's credential shoal-hsm-pin.",
    )
    trust_offline_life_s: float = _setting(
        "SHOAL_TRUST_OFFLINE_LIFE_S", 365 * 86_400.0, "s", "How long TUF root, targets and code are valid.", ge=60
    )
    trust_online_life_s: float = _setting(
        "SHOAL_TRUST_ONLINE_LIFE_S", 30 * 86_400.0, "s", "How long TUF snapshot and models' metadata are valid.", ge=60
    )
    trust_timestamp_life_s: float = _setting(
        "SHOAL_TRUST_TIMESTAMP_LIFE_S",
        7 * 86_400.0,
        "s",
        "How long the TUF timestamp is valid: how long a broker can keep news from a device unnoticed.",
        ge=60,
    )
    max_body_bytes: int = _setting("SHOAL_MAX_BODY_BYTES", 2**20, "bytes", "Largest body of a JSON request.", ge=16_384)
    max_upload_bytes: int = _setting(
        "SHOAL_MAX_UPLOAD_BYTES", 512 * 2**20, "bytes", "Largest body of a request that uploads a model.", ge=2**20
    )
    max_unpacked_bytes: int = _setting(
        "SHOAL_MAX_UNPACKED_BYTES",
        2 * 2**30,
        "bytes",
        "What one archive of a bundle (.npz, .keras) may unpack to.",
        ge=2**20,
    )
    max_tensor_bytes: int = _setting(
        "SHOAL_MAX_TENSOR_BYTES",
        MAX_ARTIFACT_BYTES,
        "bytes",
        "The most memory that one tensor of a model file for devices may declare.",
        ge=1024,
    )
    onnx_domains: str = _setting(
        "SHOAL_ONNX_DOMAINS",
        "",
        "names, comma-separated",
        "Operator domains that ONNX files for devices may use besides the standard ones, like com.microsoft.",
    )
    litert_custom_ops: str = _setting(
        "SHOAL_LITERT_CUSTOM_OPS",
        "",
        "names, comma-separated",
        "Custom operators that LiteRT files for devices may use, as the devices' runtime has them built in.",
    )
    require_licence: bool = _setting(
        "SHOAL_REQUIRE_LICENCE",
        default=False,
        unit="yes or no",
        description="Refuse to register a version whose model card names no licence.",
    )
    require_fairness: bool = _setting(
        "SHOAL_REQUIRE_FAIRNESS",
        default=False,
        unit="yes or no",
        description="Refuse to move a version to production whose model card says nothing of fairness.",
    )
    upload_bytes_per_day: int = _setting(
        "SHOAL_UPLOAD_BYTES_PER_DAY",
        2**30,
        "bytes",
        "What one device may upload within 24 hours; blobs that came to nothing count as well.",
        ge=2**16,
    )
    upload_bytes_in_flight: int = _setting(
        "SHOAL_UPLOAD_BYTES_IN_FLIGHT",
        2 * MAX_BLOB_BYTES,
        "bytes",
        "What one device may have on its way at once, kept on the hub's disk until it is whole.",
        ge=2**16,
    )
    upload_blobs_in_flight: int = _setting(
        "SHOAL_UPLOAD_BLOBS_IN_FLIGHT", 8, "blobs", "Blobs that one device may have on their way at once.", ge=1, le=64
    )
    upload_chunks_per_s: float = _setting(
        "SHOAL_UPLOAD_CHUNKS_PER_S",
        200.0,
        "1/s",
        "Chunks that are taken of one device, a minute's worth at once; others are dropped and asked for again.",
        gt=0,
    )
    enrol_per_minute: float = _setting(
        "SHOAL_ENROL_PER_MINUTE", 60.0, "1/min", "Enrolment requests that one address may send; as many at once.", ge=1
    )
    device_messages_per_s: float = _setting(
        "SHOAL_DEVICE_MESSAGES_PER_S",
        500.0,
        "1/s",
        "Messages that one device may send on average, ten seconds' worth at once; the hub reads no more of them.",
        ge=1,
    )
    wrong_tokens_per_minute: float = _setting(
        "SHOAL_WRONG_TOKENS_PER_MINUTE", 10.0, "1/min", "Unknown enrolment tokens that one address may show.", ge=1
    )
    wrong_tokens_per_minute_in_all: float = _setting(
        "SHOAL_WRONG_TOKENS_PER_MINUTE_IN_ALL",
        300.0,
        "1/min",
        "Unknown enrolment tokens of all addresses; beyond it, no address that has shown one may go on.",
        ge=1,
    )
    enrol_by_hand: bool = _setting(
        "SHOAL_ENROL_BY_HAND",
        default=False,
        unit="flag",
        description="Let devices without a token wait until an operator accepts them.",
    )
    pending_max: int = _setting(
        "SHOAL_PENDING_MAX", 1000, "devices", "Devices that may wait for an operator at once.", ge=1, le=100_000
    )
    pending_life_s: float = _setting(
        "SHOAL_PENDING_LIFE_S", 7 * 86_400.0, "s", "How long a device that asks no more stays in that list.", ge=60
    )
    pending_retry_s: float = _setting(
        "SHOAL_PENDING_RETRY_S", 30.0, "s", "How often a device that waits asks again.", ge=1, le=3600
    )
    certificate_life_s: float = _setting(
        "SHOAL_CERTIFICATE_LIFE_S",
        365 * 86_400.0,
        "s",
        "How long a device's certificate is good for; the device renews it at two thirds.",
        ge=5,
        le=20 * 365 * 86_400.0,
    )
    renew_grace_s: float = _setting(
        "SHOAL_RENEW_GRACE_S",
        365 * 86_400.0,
        "s",
        "How long after its certificate's end a device that was off may still renew it.",
        ge=0,
    )
    renew_clock_s: float = _setting(
        "SHOAL_RENEW_CLOCK_S",
        300.0,
        "s",
        "How far a renewal's time may be from the hub's; a device whose clock is off is told the hub's.",
        ge=1,
    )
    renewals_per_hour: int = _setting(
        "SHOAL_RENEWALS_PER_HOUR", 12, "1/h", "Certificates that one device may get by renewal.", ge=1
    )
    predictor_results: int = _setting(
        "SHOAL_PREDICTOR_RESULTS",
        32,
        "results",
        "Benchmark results of a target class, the newest, by which latency is predicted while its devices are absent.",
        ge=1,
        le=1000,
    )
    session_s: float = _setting("SHOAL_SESSION_S", 12 * 3600.0, "s", "How long a console session lasts at most.", ge=60)
    session_idle_s: float = _setting(
        "SHOAL_SESSION_IDLE_S", 3600.0, "s", "After how long without a request a console session ends.", ge=60
    )
    login_per_minute: float = _setting(
        "SHOAL_LOGIN_PER_MINUTE", 10.0, "1/min", "Console logins that one address may try; as many at once.", ge=1
    )
    account_login_per_minute: float = _setting(
        "SHOAL_ACCOUNT_LOGIN_PER_MINUTE",
        30.0,
        "1/min",
        "Logins by password that may be tried for one user, from wherever; as many at once.",
        ge=1,
    )
    recovery_life_s: float = _setting(
        "SHOAL_RECOVERY_LIFE_S", 900.0, "s", "How long a token of `shoal hub recover-admin` is good.", ge=60, le=86_400
    )
    approval_life_s: float = _setting(
        "SHOAL_APPROVAL_LIFE_S", 7 * 86_400.0, "s", "How long what waits for approval can be approved.", ge=60
    )
    oidc_issuer: str = _setting(
        "SHOAL_OIDC_ISSUER", "", "URL", "Issuer of the OIDC provider that operators log in by; empty for none."
    )
    oidc_client_id: str = _setting("SHOAL_OIDC_CLIENT_ID", "shoal", "text", "The hub's client id at the provider.")
    oidc_client_secret_file: str = _setting(
        "SHOAL_OIDC_CLIENT_SECRET_FILE",
        "",
        "path",
        "File with the hub's client secret at the provider; empty for a public client, which PKCE protects alone.",
    )
    oidc_scope: str = _setting(
        "SHOAL_OIDC_SCOPE", "openid profile email", "text", "What is asked of the provider, space-separated."
    )
    oidc_role_claim: str = _setting(
        "SHOAL_OIDC_ROLE_CLAIM",
        "groups",
        "name",
        "Claim of the ID token that carries a user's groups; a dot goes deeper, as in realm_access.roles.",
    )
    oidc_roles: str = _setting(
        "SHOAL_OIDC_ROLES",
        "",
        "list",
        "Roles by values of that claim, as in fleet-ops=operator,fleet-admins=admin; the highest that fits counts.",
    )
    audit_anchor_s: float = _setting(
        "SHOAL_AUDIT_ANCHOR_S",
        20.0,
        "s",
        "How long a change may stay in the audit trail before a signed anchor covers it; most are covered at once.",
        gt=0,
        le=30,  # with the longest tick: within the minute
    )
    audit_liveness_s: float = _setting(
        "SHOAL_AUDIT_LIVENESS_S",
        3600.0,
        "s",
        "How often an anchor is signed where nothing has changed, so that its silence shows.",
        ge=60,
        le=86_400,
    )
    audit_webhook_url: str = _setting(
        "SHOAL_AUDIT_WEBHOOK_URL",
        "",
        "URL",
        "https://… that gets each anchor of the audit trail by POST; empty: none.",
        is_secret=True,
        pattern=r"^(https://[^\s@]+)?$",
    )

    @field_validator("oidc_roles")
    @classmethod
    def _check_roles(cls, text: str) -> str:
        parse_roles(text)
        return text

    @field_validator("oidc_issuer")
    @classmethod
    def _check_issuer(cls, url: str) -> str:
        if url and not is_safe_url(url):
            msg = "an https address is needed"
            raise ValueError(msg)
        return url

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from environment variables; an empty variable counts as not set.

        Raises:
            SettingsError: A variable has a value that the hub cannot start with.
        """
        given = {name: environ[env] for name, env in cls.environment().items() if environ.get(env)}
        try:
            return cls(**given)  # type: ignore[arg-type]  # pydantic reads numbers and paths from text
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            variable = cls.environment()[str(first["loc"][0])]
            extra: Any = cls.model_fields[str(first["loc"][0])].json_schema_extra
            value = "…" if extra["is_secret"] else repr(first["input"])
            msg = f"reading the settings: {variable}={value}: {first['msg']}"
            raise SettingsError(msg, f"set {variable} to a value of that kind, or unset it for the default") from error

    @classmethod
    def environment(cls) -> dict[str, str]:
        """Return the environment variable of each setting, by field name."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: str(extra["env"]) for name, extra in extras.items() if isinstance(extra, dict)}

    def to_environment(self) -> dict[str, str]:
        """Return the variables from which a child process reads these settings; it inherits what is at its default."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return {env: str(values[name]) for name, env in self.environment().items() if name in values}

    @property
    def data(self) -> Path:
        """The data folder as an absolute path."""
        return self.data_dir.expanduser().absolute()

    @property
    def database(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data / 'hub.sqlite'}"

    @property
    def artifacts(self) -> str:
        """The artifact store's URL, with the default filled in."""
        return self.artifacts_url or str(self.data / "artifacts")
