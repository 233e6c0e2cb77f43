"""The device's time zone: by name, by the system, or by the system's rule alone."""

from datetime import datetime, timezone
from pathlib import Path

import pytest

from shoal_agent.errors import AgentError
from shoal_agent.time_zone import find_time_zone

SUMMER = datetime(2026, 7, 1, 12, 0, tzinfo=timezone.utc)
WINTER = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _no_tz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)


def test_a_named_zone_has_its_summer_time() -> None:
    zone = find_time_zone("Europe/Paris")
    assert [zone.to_local(at).hour for at in (SUMMER, WINTER)] == [14, 13]
    assert zone.name(SUMMER) == "Europe/Paris"


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../etc/passwd", "/etc/localtime", "x" * 5000])
def test_a_name_that_is_none_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(AgentError, match="choosing the time zone") as refused:
        find_time_zone(name)
    assert "tzdata" in refused.value.remedy


def test_the_system_s_zone_is_found_by_its_link(tmp_path: Path) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Kolkata")
    zone = find_time_zone(localtime=tmp_path / "localtime")
    assert (zone.name(WINTER), zone.to_local(WINTER).minute) == ("Asia/Kolkata", 30)


def test_the_environment_comes_before_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Kolkata")
    monkeypatch.setenv("TZ", ":America/Lima")
    assert find_time_zone(localtime=tmp_path / "localtime").name(WINTER) == "America/Lima"


@pytest.mark.parametrize("rule", ["", "CET-1CEST"])
def test_a_zone_without_a_name_is_reported_by_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setenv("TZ", rule)
    zone = find_time_zone(localtime=tmp_path / "no-link")
    offset = zone.name(WINTER)
    assert len(offset) == 6
    assert f"{zone.to_local(WINTER):%z}" == offset.replace(":", "")
