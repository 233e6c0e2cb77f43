"""What no device could serve is refused, by words that say what and what to do."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from sqlmodel import Session
from tests.hub.compositions.fleet import Fleet
from tests.simulators.compositions import CASCADE, ENSEMBLE, IMAGE, SCORES

from shoal_contract.compositions import Cascade
from shoal_hub.compositions.kept import create_composition
from shoal_hub.database import utc_now
from shoal_hub.errors import ConflictError
from shoal_hub.registry.register import _model
from shoal_hub.registry.tables import Model


def cascade(*stages: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "cascade", "stages": list(stages)}


SURE = {"model": "small", "confidence": 0.9}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"kind": "chorus", "members": []}, "ensemble"),
        ({**ENSEMBLE, "combine": "median"}, "weighted_mean"),
        ({**ENSEMBLE, "members": [{"model": "small"}]}, "at least 2"),
        ({**ENSEMBLE, "members": [{"model": "small", "weight": 0}, {"model": "large"}]}, "greater than 0"),
        ({**ENSEMBLE, "combine": "mean"}, "a plain mean has no weights"),
        ({**ENSEMBLE, "wieghts": [1, 2]}, "there is no field wieghts"),
        (cascade({"model": "small", "confidence": 1.5}, {"model": "large"}), "less than or equal to 1"),
        (cascade({"model": "small"}, {"model": "large"}), "no confidence from which on"),
        (cascade(SURE, {"model": "large", "confidence": 0.5}), "leave its confidence out"),
        (cascade(SURE, {"model": "small"}), "named 2 times"),
        (cascade(SURE, {"model": "none"}), "there is no model none"),
        (cascade(SURE, {"model": "faces"}), "its member faces is a composition"),
        (cascade(SURE, {"model": "hands"}), "its member hands is a composition"),
        (cascade({**SURE, "inputs": {"picture": "imago"}}, {"model": "large"}), "has no input 'imago', only image"),
        ({**CASCADE, "output": "logits"}, "expected logits"),
    ],
)
def test_a_form_that_can_not_be_is_refused(sqlite_fleet: Fleet, form: dict[str, Any], said: str) -> None:
    sqlite_fleet.create("hands", ENSEMBLE)
    for refused in (sqlite_fleet.create(form=form), sqlite_fleet.change(form, "hands")):
        if said.startswith("its member faces") and refused.request.method == "PUT":
            continue
        assert (refused.status_code, said in refused.text) == (422, True), refused.text
    assert [one["name"] for one in sqlite_fleet.client.get("/api/v1/compositions").json()] == ["hands"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": [IMAGE | {"name": "x"}]}, "large version 2 takes x, expected image"),
        ({"inputs": [IMAGE | {"shape": [-1, 5]}]}, "FP32 [-1, 5], expected FP32 [-1, 4] of small"),
        ({"outputs": [SCORES | {"datatype": "INT64"}]}, "INT64 [-1, 2], expected FP32 [-1, 2] of small"),
        ({"outputs": [SCORES | {"shape": [-1, 3]}]}, "FP32 [-1, 3], expected FP32 [-1, 2] of small"),
    ],
)
def test_members_whose_newest_versions_do_not_fit_are_refused(
    sqlite_fleet: Fleet, changes: dict[str, Any], said: str
) -> None:
    assert sqlite_fleet.create().status_code == 201
    sqlite_fleet.register("large", 2, **changes)
    refused = sqlite_fleet.create("hands")
    assert (refused.status_code, said in refused.json()["error"]["message"]) == (422, True), refused.text
    assert "inputs and outputs" in refused.json()["error"]["remedy"]


def test_members_with_other_labels_are_refused(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.register("small", 2, labels=["no", "yes"])
    sqlite_fleet.register("large", 2, labels=["yes", "no"])
    assert "has other labels" in sqlite_fleet.create().json()["error"]["message"]


def test_of_a_model_without_versions_nothing_is_known_yet(sqlite_fleet: Fleet) -> None:
    with sqlite_fleet.hub.database.transaction() as session:
        session.add(Model(name="new", created_at=utc_now()))
    assert sqlite_fleet.create(form=cascade(SURE, {"model": "new"})).status_code == 201


def test_a_name_is_one_things_alone(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.register("hands")
    refused = sqlite_fleet.create("hands")
    assert (refused.status_code, "a model of this name" in refused.json()["error"]["message"]) == (409, True)
    sqlite_fleet.create()
    again = sqlite_fleet.create()
    assert (again.status_code, "shoal compositions change faces" in again.json()["error"]["remedy"]) == (409, True)
    with (
        sqlite_fleet.hub.database.transaction() as session,
        pytest.raises(ConflictError, match="a composition of this name"),
    ):
        _model(session, "faces", "", utc_now())


def test_of_a_model_and_a_composition_made_at_once_the_second_finds_the_name_taken(fleet: Fleet) -> None:
    form = Cascade.model_validate(CASCADE)
    makers: list[tuple[Callable[[Session, str], object], str]] = [
        (lambda session, name: create_composition(session, name, form, by="ada", now=utc_now()), "a model of"),
        (lambda session, name: _model(session, name, "", utc_now()), "a composition of"),
    ]

    def make(number: int, name: str) -> None:
        with fleet.hub.database.transaction() as session:
            makers[number][0](session, name)

    for number, (make_first, _) in enumerate(makers):
        with ThreadPoolExecutor(1) as pool:
            with fleet.hub.database.transaction() as session:
                make_first(session, f"hands-{number}")
                making = pool.submit(make, 1 - number, f"hands-{number}")
                assert not wait([making], timeout=0.5).done, "it waits until the first is there for all to see"
            with pytest.raises(ConflictError, match=makers[1 - number][1]):
                making.result(20)


def test_a_text_that_only_looks_like_nul_is_taken(sqlite_fleet: Fleet) -> None:
    named = {"model": "small", "confidence": 0.5, "inputs": {r"image\u0000": "image"}}
    others = {"model": "large", "inputs": {r"image\u0000": "image"}}
    assert sqlite_fleet.create(form=cascade(named, others)).status_code == 201


def test_a_text_with_nul_and_one_that_is_too_large_are_refused(sqlite_fleet: Fleet) -> None:
    named = {"model": "small", "confidence": 0.5, "inputs": {"image\x00": "image"}}
    assert "NUL" in sqlite_fleet.create(form=cascade(named, {"model": "large"})).text
    long = {f"{number}{'x' * 120}": f"{number}{'y' * 120}" for number in range(16)}
    members = [{"model": f"model-{number}", "inputs": long, "outputs": long} for number in range(8)]
    refused = sqlite_fleet.create(form={"kind": "ensemble", "members": members})
    assert (refused.status_code, "have room in a state" in refused.text) == (422, True)
