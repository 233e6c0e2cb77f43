"""What is in deploy/: Prometheus' own checker passes it, and it asks for nothing that neither hub nor agent tells."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from tests.agent.metrics.test_metrics import device
from tests.agent.simulators.boards import PI4
from tests.environments import ROOT
from tests.hub.observe.rows import add_fleet

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "shoal-rules.yml"
DASHBOARD = DEPLOY / "grafana" / "shoal.json"
_METRIC = re.compile(r"\bshoal_[a-z0-9_]+")
_LABEL = re.compile(r"(shoal_[a-z0-9_]+)\{([^}]*)\}")


def promtool(*arguments: str, folder: Path | None = None) -> str:
    found = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".cache" / "bin")
    if found is None:
        pytest.skip("promtool is not installed: scripts/setup test")
    ran = subprocess.run([found, *arguments], capture_output=True, text=True, cwd=folder, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_rules_are_rules_and_fire_when_they_should() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULES.with_name("shoal-rules-test.yml")))


def test_the_scrape_configuration_is_one_with_the_files_that_it_names(tmp_path: Path) -> None:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    for named in sorted(set(re.findall(r"/etc/prometheus/[a-z.-]+", text))):
        (tmp_path / Path(named).name).write_text("x")
        text = text.replace(named, Path(named).name)
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(RULES, tmp_path)
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml", folder=tmp_path)


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    """All that the dashboard and the rules ask Prometheus for."""
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    asked += [
        one["definition"] for one in json.loads(DASHBOARD.read_text())["templating"]["list"] if "definition" in one
    ]
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return asked + [rule["expr"] for group in groups for rule in group["rules"]]


async def told_by_an_agent(folder: Path) -> str:
    async with device(folder, PI4) as tiny:
        await tiny.infer()
        tiny.statistics.note_refused("tiny", "hot")
        return await tiny.text()


@pytest.mark.anyio
async def test_every_metric_and_label_that_is_asked_for_is_told_by_the_hub_or_the_agent(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    add_fleet(sqlite_hub.database, utc_now())
    sqlite_client.get("/metrics")
    text = sqlite_client.get("/metrics").text + await told_by_an_agent(tmp_path)
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    parts = {f"{name}{part}" for name, kind in families.items() if kind == "histogram"
             for part in ("_bucket", "_sum", "_count")}  # fmt: skip
    asked = {name for one in expressions() for name in _METRIC.findall(one)}
    assert len(asked) > 50
    assert asked - families.keys() - parts == set()
    labels: dict[str, set[str]] = {}
    for name, found in _LABEL.findall(text):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', found))
    by_prometheus = {"instance", "job"}
    wrong = {
        (name, label)
        for one in expressions()
        for name, found in _LABEL.findall(one)
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", found)
        if name in labels and label not in labels[name] | by_prometheus
    }
    assert wrong == set()


def test_what_every_api_of_a_hub_tells_of_one_database_is_not_added_up() -> None:
    of_processes = {"shoal_ingest_waiting_messages", "shoal_database_connections_in_use"}
    of_processes |= {"shoal_hub_process_resident_memory_bytes"}
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    summed = {name for one in asked for name in re.findall(r"\bsum(?: by \([^)]*\))? \(?\(?(shoal_\w+)", one)}
    summed |= {name for one in asked for name in re.findall(r"\bsum\((shoal_\w+)", one)}
    assert summed == of_processes


def test_the_dashboard_has_a_part_for_each_thing_that_one_looks_for_and_each_panel_has_a_place() -> None:
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows[:7] == ["Fleet", "Rollouts", "Quality", "Drift", "Alerts", "Ingest", "Hub health"]
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        mine = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not mine & cells, f"{panel['title']} lies over another panel"
        assert max(x for x, _ in mine) < 24
        cells |= mine


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"warning", "critical"}, rule
            assert {"summary", "description"} <= rule["annotations"].keys(), rule
