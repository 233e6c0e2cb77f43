"""`shoal devices ledger`, `limit` and `limits` against a real hub."""

import json

from tests.cli.conftest import DEVICES, Shoal

GARDEN = DEVICES["garden"]


def test_limits_are_set_for_a_device_a_group_and_the_fleet_and_listed(shoal: Shoal) -> None:
    assert "No limit" in shoal("devices", "limits").out
    made = json.loads(shoal("devices", "limit", "garden", "--bytes-per-s", "65536", "--json").out)
    assert (made["scope"], made["name"], made["max_fetch_bytes_per_s"]) == ("devices", GARDEN, 65536)
    assert shoal("devices", "limit", "--fleet", "--bytes-per-month", "1000000").status == 0
    assert "no group greenhouse" in shoal("devices", "limit", "--group", "greenhouse", "--bytes-per-month", "5").err
    shoal("groups", "create", "greenhouse", "--device", "garden")
    assert shoal("devices", "limit", "--group", "greenhouse", "--bytes-per-month", "5").status == 0
    listed = json.loads(shoal("devices", "limits", "--json").out)
    assert {(one["scope"], one["max_bytes_per_month"]) for one in listed} == {
        ("fleet", 1_000_000),
        ("groups", 5),
        ("devices", None),
    }
    assert "greenhouse" in shoal("devices", "limits").out


def test_a_limit_of_nobody_or_of_two_is_refused(shoal: Shoal) -> None:
    assert "name a device" in shoal("devices", "limit", "--bytes-per-s", "1").err
    assert shoal("devices", "limit", "garden", "--fleet").status == 2


def test_the_ledger_is_a_table_json_or_csv(shoal: Shoal) -> None:
    assert "No device has told" in shoal("devices", "ledger").out
    assert json.loads(shoal("devices", "ledger", "garden", "--month", "2026-01", "--json").out) == []
    assert shoal("devices", "ledger", "--csv").out.startswith("device_id,name,group,month,artifacts_broker_received")
    assert shoal("devices", "ledger", "--month", "2026-13").status == 1
    assert "--csv" in shoal("devices", "ledger", "garden", "--csv").err


def test_a_device_is_let_go_back_by_itself_and_for_no_shorter_than_a_minute(shoal: Shoal) -> None:
    assert shoal("devices", "configure", "garden", "--drift-fall-back", "--drift-fall-back-features", "3").status == 0
    refused = shoal("devices", "configure", "garden", "--drift-fall-back-s", "5")
    assert (refused.status, "for_s" in refused.err) == (1, True), refused.err
