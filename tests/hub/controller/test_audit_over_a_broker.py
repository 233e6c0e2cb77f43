"""Anchors over a real broker: signed when a change is committed, kept there, and read by the hub alone."""

import time
from pathlib import Path

from tests.hub.audit.trail import read, write
from tests.hub.broker.test_access import connected
from tests.simulators.broker import listening
from tests.simulators.hub_threads import WAIT_S, Hub

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_hub.audit.anchor import AnchorFile
from shoal_hub.audit.chain import read_anchor, read_anchors
from shoal_hub.audit.key import read_public
from shoal_hub.mqtt import Message


def wait_for_anchor(hub: Hub) -> int:
    """Wait until an anchor covers all that there is; return of how many entries."""
    key, deadline_s = read_public(hub.folder / "trust"), time.monotonic() + WAIT_S
    count = len(read(hub.database))
    while read_anchors(AnchorFile(hub.folder).lines(), key)[0][-1].count != count:
        assert time.monotonic() < deadline_s, "no anchor for it"
        time.sleep(0.02)  # a file tells nobody
    return count


def test_a_change_is_anchored_at_once_at_the_broker_and_no_device_can_read_it(hub: Hub, tmp_path: Path) -> None:
    began = time.monotonic()
    write(hub.database)
    count = wait_for_anchor(hub)
    assert time.monotonic() - began < hub.settings.audit_anchor_s / 2, "it did not wait for its time"
    key = read_public(tmp_path / "trust")
    with listening(hub.broker.endpoint("hub-test"), topics.HUB_AUDIT) as ears:
        while read_anchor(ears.wait_for(Message).payload, key).count != count:
            pass
    (tmp_path / "stranger").mkdir()
    with connected(hub.broker, new_device_id(), tmp_path / "stranger") as device:
        device.subscribe(topics.HUB_AUDIT)
        assert device.hears_nothing()


def test_a_cut_file_of_anchors_gets_back_what_the_broker_kept(hub: Hub) -> None:
    wait_for_anchor(hub)
    write(hub.database)
    count = wait_for_anchor(hub)
    key = read_public(hub.folder / "trust")
    with listening(hub.broker.endpoint("hub-test"), topics.HUB_AUDIT) as ears:
        while read_anchor(kept := ears.wait_for(Message).payload, key).count != count:
            pass
    hub.database.on_commit = None
    hub.controller.stop()
    file = AnchorFile(hub.folder)
    file.path.write_bytes(b"".join(line + b"\n" for line in file.lines()[:1]))
    assert kept not in file.lines()
    hub.start_controller()
    deadline_s = time.monotonic() + WAIT_S
    while kept not in file.lines():
        assert time.monotonic() < deadline_s, "the broker's anchor did not come back"
        time.sleep(0.02)
