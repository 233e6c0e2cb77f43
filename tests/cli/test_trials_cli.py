"""What `shoal trials start` says of devices that take no part, and of a trial that its devices wait for."""

import json

import pytest
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.served import ServedHub
from tests.simulators.rows import add_version, make_report

from shoal_contract.ids import sha256_hex
from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.cli.trials import SHOWN
from shoal_hub.devices.tables import Device

TARGET = "generic-onnx-int8"
FILES = {number: bytes([number]) * 300_000 for number in (1, 2)}


@pytest.fixture
def fleet(served: ServedHub) -> ServedHub:
    """Two devices that serve version 1 of digits, which has been rolled out; the second can not run version 2."""
    slot = SlotReport(version=1, target=TARGET, sha256=sha256_hex(FILES[1]), state="good")
    said = make_report(models={"digits": ModelReport(active=slot)}).model_dump(mode="json")
    with served.hub.database.transaction() as session:
        for number, data in FILES.items():
            version = add_version(session, served.hub.artifacts, number, {TARGET: data})
            version.manifest_sha256 = sha256_hex(b"") if number == 1 else None
            session.add(version)
        session.get_one(Device, DEVICES["kitchen"]).reported = said
        session.get_one(Device, DEVICES["garden"]).reported = said | {"targets": ["esp32"]}
    return served


@pytest.mark.usefixtures("fleet")
def test_who_is_left_out_is_told_with_the_reason_and_that_devices_wait_for_a_delta(shoal: Shoal) -> None:
    started = shoal("trials", "start", "digits", "2")
    assert started.status == 0, started.err
    assert "Devices are told once the deltas to it are made." in started.out
    (line,) = [line for line in started.out.splitlines() if line.startswith("left out")]
    assert line.startswith(f"left out: {DEVICES['garden']}: it runs esp32; variants are for {TARGET}")
    (trial,) = json.loads(shoal("trials", "list", "--json").out)
    shown = shoal("trials", "show", trial["id"]).out
    assert "Devices are told once" in shown
    shoal("trials", "stop", trial["id"])
    again = json.loads(shoal("trials", "start", "digits", "2", "--json").out)
    assert [one["device_id"] for one in again["misfits"]] == [DEVICES["garden"]]
    assert len(again["misfits"]) < SHOWN
