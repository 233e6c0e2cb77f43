"""What searches find, on both databases."""

from collections.abc import Iterator

import pytest
from sqlmodel import Session

from shoal_hub.database import Database, utc_now
from shoal_hub.errors import InvalidInputError
from shoal_hub.tracking.experiments import create_experiment
from shoal_hub.tracking.inputs import DatasetInput, log_datasets
from shoal_hub.tracking.runs import create_run, search_runs, set_lifecycle, set_run_tags, update_run
from shoal_hub.tracking.values import Measured, log_metrics, log_params

NAN = float("nan")
FOUND = {
    "": "dcba",
    "metrics.acc >= 0.9": "ba",
    "metrics.acc != 0.9": "db",
    "metrics.acc > 0.4 and params.depth = '3'": "a",
    "params.depth != '3'": "b",
    "params.depth IN ('3', '10')": "cba",
    "params.depth IS NULL": "d",
    "params.depth IS NOT NULL and run_name NOT IN ('a', 'b')": "c",
    "tags.team LIKE 'Vision%'": "d",
    "tags.team LIKE 'vision%'": "",
    "tags.team ILIKE 'vision__'": "d",
    "tags.team LIKE 'Vision_'": "",
    "tags.`odd key` LIKE '50% [off]'": "d",
    "tags.`odd key` LIKE '50% [of]f]'": "",
    "status = 'FINISHED'": "d",
    "attributes.start_time > 1001 and attributes.end_time IS NULL": "c",
    "dataset.name = 'digits' and dataset.context = 'training'": "d",
    "tags.mlflow.runName = 'b'": "b",
    "params.depth = '3''; DROP TABLE tracked_runs; --'": "",
}


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """Four runs: a, b and c of one experiment, d of another."""
    with database.transaction() as session:
        first, second = (
            create_experiment(session, name, artifact_location="", tags={}, by="ada", now=utc_now())
            for name in ("first", "second")
        )
        for place, (name, acc, depth) in enumerate(
            [("a", 0.9, "3"), ("b", 0.95, "10"), ("c", NAN, "3"), ("d", 0.5, "")]
        ):
            of = second if name == "d" else first
            run = create_run(session, of, name=name, user_name="ada", started_ms=1000 + place, tags={}, by="ada")
            log_metrics(session, run.id, [Measured("acc", acc, 1, 5), Measured("acc", 0.1, 0, 9)])
            if depth:
                log_params(session, run.id, [("depth", depth)])
        update_run(session, run, status="FINISHED", ended_ms=2000, name=None)
        set_run_tags(session, run, {"team": "Vision_1", "odd key": "50% [off]"})
        log_datasets(session, run, [DatasetInput("digits", "abc", "local", "{}", "", "", "training")])
    with database.session() as opened:
        yield opened


def _found(session: Session, text: str, *orders: str) -> list[str]:
    page = search_runs(session, [], text, orders, view="ACTIVE_ONLY", limit=10, token="")
    return [row.name for row in page.items]


def test_a_filter_finds_the_runs_for_which_it_holds(session: Session) -> None:
    assert {text: "".join(_found(session, text)) for text in FOUND} == FOUND


def test_runs_are_ordered_by_what_is_named_and_those_without_come_last(session: Session) -> None:
    orders = {
        "params.depth ASC": "bcad",
        "attributes.start_time": "abcd",
        "tags.team": "dcba",
        "metrics.acc DESC": "badc",
        "metrics.acc": "dabc",
    }
    assert {order: "".join(_found(session, "", order)) for order in orders} == orders


def test_pages_follow_one_another_without_gap_or_repetition(session: Session) -> None:
    names: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = search_runs(session, [], "", [], view="ALL", limit=3, token=token)
        names += [row.name for row in page.items]
        token, pages = page.token, pages + 1
    assert ("".join(names), pages) == ("dcba", 2)


def test_a_token_that_the_hub_has_not_given_is_refused(session: Session) -> None:
    for token in ("x", "YXQgLTE=", "4pyT"):
        with pytest.raises(InvalidInputError, match="no page token"):
            search_runs(session, [], "", [], view="ALL", limit=3, token=token)


def test_a_comparison_of_another_kind_is_refused_with_what_is_known(session: Session) -> None:
    refused = {
        "metrics.acc = 'high'": "acc is a number",
        "params.depth > '3'": "compares no texts",
        "params.depth = 3": "is a text",
        "colour = 'red'": "known are Created",
        "dataset.colour = 'red'": "dataset.name, dataset.digest, dataset.context",
    }
    for text, told in refused.items():
        with pytest.raises(InvalidInputError, match=told):
            _found(session, text)


def test_runs_that_were_let_go_are_found_where_they_are_asked_for(database: Database, session: Session) -> None:
    with database.transaction() as changing:
        (run,) = search_runs(changing, [], "run_name = 'a'", [], view="ALL", limit=3, token="").items
        set_lifecycle(changing, run, "deleted")
    assert "".join(_found(session, "")) == "dcb"
    page = search_runs(session, [], "", [], view="DELETED_ONLY", limit=3, token="")
    assert [row.name for row in page.items] == ["a"]
