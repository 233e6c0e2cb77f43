"""What the simulated devices of one process have in common, and the settings that they run under."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from shoal_agent.clock import Clock
from shoal_agent.hardware import available_runtimes, detect, targets_for
from shoal_agent.identity import Identity
from shoal_agent.settings import AgentSettings
from shoal_agent.simulated.disk import Disk, Mount
from shoal_agent.simulated.network import Network
from shoal_agent.simulated.progress import Milestones
from shoal_agent.simulated.shared_blobs import SharedBlobs
from shoal_agent.simulated.shared_engines import SharedEngines
from shoal_agent.simulated.shared_trust import SharedTrust
from shoal_agent.simulated.stores import MemoryBlobs
from shoal_agent.simulated.traffic import Sampler
from shoal_contract.reported import Hardware, Runtime


@dataclass
class World:
    """The surroundings of the devices of one process.

    Attributes:
        settings: Of every device; its data folder is this process's own.
        network: Moves the packets.
        clock: Trusted time.
        blobs: Verified bytes.
        engines: Loaded engines.
        trust: Verified metadata.
        milestones: When versions were wanted and active.
        faults: How many of each kind have been made.
        samplers: Draw the requests of each version that devices serve, by its manifest's hash.
    """

    settings: AgentSettings
    network: Network
    clock: Clock
    blobs: SharedBlobs
    engines: SharedEngines
    trust: SharedTrust
    hardware: Hardware
    runtimes: tuple[Runtime, ...]
    targets: tuple[str, ...]
    milestones: Milestones = field(default_factory=Milestones)
    faults: Counter[str] = field(default_factory=Counter)
    samplers: dict[str, Sampler] = field(default_factory=dict)

    @classmethod
    def around(cls, identity: Identity, settings: AgentSettings, handshakes: int) -> "World":
        """Make the surroundings of the devices of one hub.

        Args:
            identity: Of one of the devices.
            settings: Of every device.
            handshakes: Connections that are being made at a time.
        """
        clock, blobs = Clock(None), SharedBlobs(settings.data_dir / "artifacts")
        hardware, runtimes = detect(), settings.runtimes or available_runtimes()
        return cls(
            settings=settings,
            network=Network(handshakes),
            clock=clock,
            blobs=blobs,
            engines=SharedEngines(),
            trust=SharedTrust(settings.data_dir / "trust", identity, _blobs_of_all(blobs, settings), clock, settings),
            hardware=hardware,
            runtimes=runtimes,
            targets=targets_for(hardware, runtimes),
        )


def _blobs_of_all(blobs: SharedBlobs, settings: AgentSettings) -> MemoryBlobs:
    disk = Disk.empty(blobs, settings.outbox, lambda: 0)
    return MemoryBlobs(Mount(disk, lambda: False, lambda: None))


def folder_of(data: Path, index: int) -> Path:
    """Return the folder of a device's identity."""
    return data / "devices" / f"{index:06d}" / "identity"


def disk_of(data: Path, index: int) -> Path:
    """Return the folder of a device's disk, where disks are kept."""
    return data / "devices" / f"{index:06d}" / "disk"
