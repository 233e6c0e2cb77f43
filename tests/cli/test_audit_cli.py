"""`shoal audit` against a real hub, and without one."""

import json
import re
from pathlib import Path

import pytest
from tests.cli.conftest import Ran, Shoal
from tests.hub.audit.trail import overpower, run, write
from tests.hub.served import ServedHub

from shoal_hub.audit.anchor import AnchorFile, AuditSigner
from shoal_hub.database import utc_now


@pytest.fixture
def signed(served: ServedHub) -> ServedHub:
    """A hub whose trail has entries that are signed, and one more that is not."""
    hub = served.hub
    write(hub.database, 3)
    data = hub.settings.data
    signer = AuditSigner(hub.database, data / "trust", AnchorFile(data), lambda _: None, anchor_s=20, liveness_s=3600)
    signer.step(utc_now(), is_urgent=True)
    write(hub.database)
    return served


def offline(shoal: Shoal, hub: ServedHub, export: Path, *more: str) -> Ran:
    data = hub.hub.settings.data
    anchors = str(AnchorFile(data).path)
    key = str(data / "trust" / "audit.pub")
    return shoal("audit", "verify", "--file", str(export), "--anchors", anchors, "--key", key, *more)


@pytest.mark.usefixtures("signed")
def test_a_change_is_listed_shown_exported_and_verified(shoal: Shoal, tmp_path: Path) -> None:
    listed = shoal("audit", "list", "--actor", "ada", "--subject", "devices/d-2", "--since", "2026-01-01")
    assert "devices.update_device" in listed.out
    assert "192.0.2.7" in listed.out
    number = json.loads(shoal("audit", "list", "--limit", "1", "--json").out)[0]["sequence"]
    shown = shoal("audit", "show", str(number)).out
    assert '"a"' in shown
    assert '"b"' in shown
    verified = shoal("audit", "verify")
    assert verified.status == 0, verified
    assert re.search(r"last anchor +\d+ s ago", verified.out)
    assert re.search(r"not covered yet +1, the oldest made \d+ s ago", verified.out)
    export = tmp_path / "audit.jsonl"
    assert "bytes" in shoal("audit", "export", str(export)).out
    assert shoal("audit", "export", "-").out == export.read_text()
    assert shoal("audit", "export", str(tmp_path / "x.csv"), "--form", "csv", "--json").status == 0
    assert (tmp_path / "x.csv").read_text().startswith("sequence,at,actor_id")
    assert "'jsonl', 'csv'" in shoal("audit", "export", "-", "--form", "xml").err
    assert shoal("audit", "list", "--by", "people").out == shoal("audit", "list").out
    assert "No such change" in shoal("audit", "list", "--by", "hub").out


def test_an_export_is_verified_without_the_hub_and_every_attack_on_it_is_told(
    shoal: Shoal,
    signed: ServedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export = tmp_path / "audit.jsonl"
    shoal("audit", "export", str(export))
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "none.json"))
    whole = offline(shoal, signed, export, "--json")
    assert (whole.status, json.loads(whole.out)["holds"]) == (0, True)
    lines = export.read_text().splitlines()
    export.write_text("\n".join(line.replace('"ada"', '"eve"') if n == 1 else line for n, line in enumerate(lines)))
    edited = offline(shoal, signed, export)
    assert edited.status == 1
    assert "entry 2 was edited" in edited.out
    export.write_text("\n".join(lines[:1] + lines[2:]))
    assert "entry 2 is missing between 1 and 3" in offline(shoal, signed, export).out
    export.write_text("\n".join(lines[:2]))
    assert "the tail is cut" in offline(shoal, signed, export).out
    export.write_text("{}")
    assert "line 1: the line is not an entry" in offline(shoal, signed, export).err


def test_an_offline_check_says_which_files_it_needs(shoal: Shoal, signed: ServedHub, tmp_path: Path) -> None:
    assert "three files" in shoal("audit", "verify", "--file", "x").err
    assert "three files" in shoal("audit", "verify", "--anchors", "x").err
    assert "three files" in offline(shoal, signed, tmp_path / "none").err


def test_a_broken_trail_ends_with_status_one_and_the_finding(shoal: Shoal, signed: ServedHub) -> None:
    overpower(signed.hub.database)
    run(signed.hub.database, "DELETE FROM audit_entries WHERE sequence = 2")
    verified = shoal("audit", "verify")
    assert verified.status == 1
    assert "gap: entry 2 is missing between 1 and 3" in verified.out
