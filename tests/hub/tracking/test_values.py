"""Parameters and metrics of runs, on both databases."""

from math import inf, isnan, nan

import pytest

from shoal_hub.database import Database
from shoal_hub.errors import InvalidInputError
from shoal_hub.tracking.experiments import find_experiment
from shoal_hub.tracking.runs import create_run
from shoal_hub.tracking.tables import DEFAULT_EXPERIMENT
from shoal_hub.tracking.values import Measured, history_of, latest_of, log_metrics, log_params, params_of


@pytest.fixture
def run(database: Database) -> str:
    with database.transaction() as session:
        experiment = find_experiment(session, DEFAULT_EXPERIMENT)
        return create_run(session, experiment, name="", user_name="", started_ms=1, tags={}, by="ada").id


def _log(database: Database, run: str, *metrics: Measured) -> None:
    with database.transaction() as session:
        log_metrics(session, run, metrics)


def _latest(database: Database, run: str) -> dict[str, float]:
    with database.session() as session:
        return {one.key: one.value for one in latest_of(session, [run])[run]}


def test_the_last_value_is_that_of_the_last_step_in_whichever_order_values_come(database: Database, run: str) -> None:
    _log(database, run, Measured("loss", 3.0, 3, 30), Measured("loss", 1.0, 1, 10))
    _log(database, run, Measured("loss", 2.0, 2, 99))
    assert _latest(database, run) == {"loss": 3.0}
    _log(database, run, Measured("loss", 4.0, 3, 31))
    assert _latest(database, run) == {"loss": 4.0}
    with database.session() as session:
        values = [one.value for one in history_of(session, run, "loss", limit=10, token="").items]
    assert values == [1.0, 2.0, 3.0, 4.0]


def test_values_that_are_sent_again_after_a_lost_answer_are_kept_once(database: Database, run: str) -> None:
    batch = [Measured("loss", value, step, step) for step, value in enumerate([0.5, nan, inf, -inf])]
    for _ in range(2):
        _log(database, run, *batch)
    with database.session() as session:
        values = [one.value for one in history_of(session, run, "loss", limit=10, token="").items]
    assert values[0] == 0.5
    assert isnan(values[1])
    assert values[2:] == [inf, -inf]


def test_a_number_is_the_last_value_before_nan_of_the_same_time(database: Database, run: str) -> None:
    _log(database, run, Measured("loss", nan, 1, 1))
    _log(database, run, Measured("loss", 0.5, 1, 1))
    _log(database, run, Measured("loss", nan, 1, 1))
    assert _latest(database, run) == {"loss": 0.5}


def test_a_parameter_is_said_once_and_never_changes(database: Database, run: str) -> None:
    for _ in range(2):
        with database.transaction() as session:
            log_params(session, run, [("depth", "3"), ("rate", "0.1")])
    with (
        pytest.raises(InvalidInputError, match="it is '3' already, and '4' was sent"),
        database.transaction() as session,
    ):
        log_params(session, run, [("depth", "4"), ("new", "1")])
    with pytest.raises(InvalidInputError, match="never changes"), database.transaction() as session:
        log_params(session, run, [("new", "1"), ("new", "2")])
    with database.session() as session:
        assert params_of(session, [run])[run] == {"depth": "3", "rate": "0.1"}, "a batch is kept whole or not at all"


@pytest.mark.parametrize("one", [Measured("", 1, 1, 1), Measured("x" * 251, 1, 1, 1), Measured("x", 1, 2**63, 1)])
def test_a_value_that_cannot_be_kept_is_refused(database: Database, run: str, one: Measured) -> None:
    with pytest.raises(InvalidInputError):
        _log(database, run, one)
