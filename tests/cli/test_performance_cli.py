"""`shoal performance` against a real hub."""

import json
import re
from datetime import timedelta

import pytest
from sqlmodel import select
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.monitoring.test_drift import take
from tests.hub.performance.conftest import SLICES, Answers, Fleet
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.hub.served import ServedHub

from shoal_contract.manifest import Baseline
from shoal_contract.performance import CustomMetric, PerformanceCounts
from shoal_hub.database import utc_now
from shoal_hub.registry.tables import Version
from shoal_numerics.value_sums import sums_of


@pytest.fixture(scope="module")
def told(served: ServedHub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The garden's device has told of two windows, an hour apart, and the kitchen's of a metric."""
    register_bundle(served.hub, write_bundle(tmp_path_factory.mktemp("bundle") / "b", slices=SLICES))
    with served.hub.database.session() as session:
        baseline = Baseline.model_validate(session.exec(select(Version)).one().baseline)
    fleet = Fleet.__new__(Fleet)
    fleet.baseline, fleet.now = baseline, utc_now()
    for hours in (1, 2):
        window = fleet.window(Answers(hours, right=0.7), at=fleet.now - timedelta(hours=hours))
        take(served.hub, DEVICES["garden"], window, fleet.now)
    metric = CustomMetric(name="late_min", sums=sums_of([1.0, 3.0]))
    alone = fleet.window(Answers(5), labelled=0, correct=0, performance=PerformanceCounts(metrics=(metric,)))
    take(served.hub, DEVICES["kitchen"], alone, fleet.now)


@pytest.mark.usefixtures("told")
def test_a_model_s_performance_is_a_table_with_marks_where_a_threshold_does_not_hold(shoal: Shoal) -> None:
    shown = shoal("performance", "colours", "--classes")
    assert shown.status == 0, shown.err
    assert all(word in shown.out for word in ("ACCURACY", "RECALL", "AUC", "late_min", "green", "concept drift"))
    report = json.loads(shoal("performance", "colours", "--json").out)
    [row] = report["rows"]
    assert (row["labelled"], row["samples"], report["thresholds"]["accuracy"]) == (300, 450, 0.85)
    assert f"{row['accuracy']:.4g} !" in shown.out
    assert row["judged"]["accuracy"]["holds"] is False


@pytest.mark.usefixtures("told")
def test_rows_tell_apart_what_is_asked(shoal: Shoal) -> None:
    assert all(name in shoal("performance", "colours", "--by", "device").out for name in ("garden", "kitchen"))
    assert "kitchen" not in shoal("performance", "colours", "--by", "device", "--device", "garden").out
    assert "low" in shoal("performance", "colours", "--by", "slice").out
    over_time = shoal("performance", "colours", "--by", "window", "--since", "3h", "--step", "30m").out
    [bars] = re.findall(r"accuracy (.*) 0 to 1", over_time)
    assert [bar == " " for bar in bars] == [False, True, False, True, True], "the last window has no label"
    assert "No window of it ended" in shoal("performance", "colours", "--since", "1m", "--version", "7").out


def test_what_is_asked_wrongly_is_explained(shoal: Shoal) -> None:
    for options in (("--by", "moon"), ("--average", "mean"), ("--since", "soon")):
        ended = shoal("performance", "colours", *options)
        assert (ended.status, options[0] in ended.err) == (2, True)
    missing = shoal("performance", "nothing")
    assert (missing.status, "there is no such model" in missing.err) == (1, True)


@pytest.mark.usefixtures("told")
def test_thresholds_of_every_metric_are_set_by_name(shoal: Shoal) -> None:
    shown = shoal("alerts", "thresholds", "colours", "--set", "auc=0.9", "--set", "rmse=2", "--json")
    assert shown.status == 0, shown.err
    found = json.loads(shown.out)["thresholds"]
    assert (found["auc"], found["rmse"], found["precision"]) == (0.9, 2.0, 0.8)
    assert "mae" not in found
