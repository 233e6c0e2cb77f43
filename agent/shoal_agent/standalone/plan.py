"""What parent and worker processes say to each other: lines of JSON on the worker's standard input and output."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal_agent.settings import MEGABYTE, ServingPlaces, ServingSettings
from shoal_contract.desired import DesiredModel
from shoal_contract.ids import DeviceId, Name, Sha256


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerPlan(_Line):
    """The first line to a worker: who it is, and its part of the server's settings.

    `threads` are the requests that it works on at a time, `engine_threads` those of one run of a model.
    """

    number: int
    data: Path
    port: int
    threads: int
    engine_threads: int
    request_timeout_s: float
    load_timeout_s: float = 600.0
    """How long loading and testing a version may take; an accelerator's engine takes minutes to build."""
    cache_mb: int = 0
    cache_ttl_s: float = 3600.0
    socket: Path | None = None
    """A Unix-domain socket that the parent listens at."""
    handed: int | None = None
    """The file descriptor over which it hands connections over."""
    grpc_port: int | None = None
    remote_host: str = ""
    remote_port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    handover_host: str = ""
    handover_port: int = 0
    redis_url: str = Field(default="", repr=False)
    """Where answers are kept for all workers; it may hold a password."""

    @property
    def folder(self) -> Path:
        """Where this worker keeps what it has measured of models."""
        return self.data / "workers" / str(self.number)

    @property
    def handover_folder(self) -> Path:
        """Where the certificate lies that devices know the server by, and the CA that it knows devices by."""
        return self.data / "handover"

    def places(self) -> ServingPlaces:
        """Return where it serves."""
        return ServingPlaces(
            port=self.port,
            socket=self.socket,
            grpc_port=self.grpc_port,
            remote_host=self.remote_host,
            remote_port=self.remote_port,
            certificate=self.certificate,
            key=self.key,
        )

    def serving(self) -> ServingSettings:
        """Return its bounds."""
        return ServingSettings(
            workers=self.threads,
            timeout_s=self.request_timeout_s,
            cache_bytes=self.cache_mb * MEGABYTE,
            cache_ttl_s=self.cache_ttl_s,
            in_place_ms=0.0 if self.redis_url else ServingSettings.in_place_ms,  # the event loop waits for no Redis
        )


class Wanted(_Line):
    """Every further line to a worker: what it is to serve, and where its siblings tell how they are."""

    models: dict[Name, DesiredModel]
    siblings: dict[int, int] = Field(default_factory=dict)
    """Ports on loopback, by the workers' numbers."""
    members: tuple[DeviceId, ...] = ()
    """Devices that may pass requests here."""


class Said(_Line):
    """A line of a worker.

    Attributes:
        kind: `serves` all that is wanted, or `failed` to load a model and serves on what it did before.
        models: What serves: the hashes of manifests by model.
        own_port: Where this worker alone tells how it is, on loopback.
        model: The one that failed.
        manifest: Of the version that failed.
        message: Why.
    """

    kind: Literal["serves", "failed"]
    models: dict[Name, Sha256] = Field(default_factory=dict)
    own_port: int = 0
    model: Name = "none"
    manifest: str = ""
    message: str = ""
