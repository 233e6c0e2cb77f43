"""`shoal runs`, at a hub where two runs were logged."""

import json

import pytest
from tests.cli.conftest import Shoal
from tests.hub.served import ServedHub

from shoal_hub.tracking.experiments import find_experiment
from shoal_hub.tracking.runs import create_run, set_run_tags
from shoal_hub.tracking.tables import DEFAULT_EXPERIMENT
from shoal_hub.tracking.values import Measured, log_metrics, log_params


@pytest.fixture(scope="module")
def runs(served: ServedHub) -> list[str]:
    """Two runs, `small` and `large`; their ids."""
    made = []
    with served.hub.database.transaction() as session:
        experiment = find_experiment(session, DEFAULT_EXPERIMENT)
        for place, (name, acc) in enumerate({"small": 0.8, "large": 0.9}.items()):
            run = create_run(session, experiment, name=name, user_name="ada", started_ms=place, tags={}, by="ada")
            log_metrics(session, run.id, [Measured("acc", acc, 1, 1), Measured("lost", float("nan"), 1, 1)])
            log_params(session, run.id, [("depth", str(place)), ("rate", "0.1")])
            set_run_tags(session, run, {"team": "[bold]vision"})
            made.append(run.id)
    return made


def test_runs_are_listed_by_filter_and_order(shoal: Shoal, runs: list[str]) -> None:
    out = shoal("runs", "list").out
    assert out.index("large") < out.index("small"), "those that began last come first"
    assert "acc=0.9" in out
    found = json.loads(shoal("runs", "list", "--filter", "metrics.acc < 0.85", "--json").out)
    assert [(one["id"], one["metrics"]) for one in found] == [(runs[0], {"acc": 0.8, "lost": None})]
    ordered = json.loads(shoal("runs", "list", "--order-by", "metrics.acc ASC", "--json").out)
    assert [one["name"] for one in ordered] == ["small", "large"]


def test_a_run_is_shown_with_all_that_it_logged(shoal: Shoal, runs: list[str]) -> None:
    out = shoal("runs", "show", runs[1]).out
    for text in ("large", "Default", "running", "ada", "acc", "0.9", "depth", "[bold]vision"):
        assert text in out


def test_runs_are_compared_by_what_differs(shoal: Shoal, runs: list[str]) -> None:
    out = shoal("runs", "compare", *runs).out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert lines["acc"] == ["0.8", "0.9"]
    assert lines["depth"] == ["0", "1"]
    assert "rate" not in lines
    assert "1 parameters are the same in all." in out


def test_what_is_asked_wrongly_is_told_with_what_to_do(shoal: Shoal, runs: list[str]) -> None:
    alone = shoal("runs", "compare", runs[0])
    assert (alone.status, "name two or more" in alone.err) == (1, True)
    unread = shoal("runs", "list", "--filter", "metrics.acc >")
    assert (unread.status, "character 14: its end" in unread.err) == (1, True)
    assert shoal("runs", "show", "0" * 32).status == 1
