"""The byte ledger of a simulated device is the agent's own, on its disk: a power cut frees no budget."""

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from shoal_agent.errors import DiskError
from shoal_agent.ledger import Ledger
from shoal_agent.settings import LedgerSettings, OutboxSettings
from shoal_agent.simulated.disk import Disk, Mount
from shoal_agent.simulated.kept import KeptDisk, stores_on
from shoal_agent.simulated.shared_blobs import SharedBlobs
from shoal_contract.ledger import Traffic

NOON = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
SETTINGS = LedgerSettings(save_bytes=1000, reserve_bytes=500)
COUNTED = Traffic(received_bytes=600, sent_bytes=400)
OpenDisk = Callable[[Path], Disk]


def in_memory(folder: Path) -> Disk:
    return Disk.empty(SharedBlobs(folder / "shared"), OutboxSettings(), lambda: 1)


def kept(folder: Path) -> Disk:
    return KeptDisk.open(SharedBlobs(folder / "shared"), OutboxSettings(), lambda: 1, folder / "disk")


def mounted(disk: Disk) -> Mount:
    return Mount(disk, lambda: False, lambda: None)


def ledger_on(mount: Mount) -> Ledger:
    return stores_on(mount).ledger(SETTINGS, lambda: NOON, lambda: 1)


@pytest.mark.parametrize("open_disk", [in_memory, kept])
def test_the_next_life_has_what_was_written_and_counts_the_reserve_as_spent(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk(tmp_path)
    mount = mounted(disk)
    ledger = ledger_on(mount)
    ledger.count("artifacts_broker", COUNTED)
    ledger.save_if_due()
    ledger.reserve(200)
    ledger.count("control", COUNTED)
    mount.cut_power()
    with pytest.raises(DiskError, match="power is off"):
        ledger.reserve(10_000)

    again = ledger_on(mounted(disk))
    assert again.totals().months == {"2026-11": {"artifacts_broker": COUNTED}}
    assert again.spent_bytes() == 1000 + 200 + SETTINGS.reserve_bytes
    disk.close()
