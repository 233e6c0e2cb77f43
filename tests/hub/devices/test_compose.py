"""The composer: one total order, the same content from the same intents, losers shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.batch_jobs import DesiredBatch
from shoal_contract.compositions import MAX_COMPOSITIONS, DesiredComposition, Ensemble, Member
from shoal_contract.features import (
    CountWindow,
    DesiredFeatures,
    Feature,
    FeatureDefinition,
    HttpSource,
    Pipeline,
)
from shoal_hub.devices.compose import PRIORITY, Wanted, compose
from shoal_hub.devices.tables import IntentKind

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REF = {"sha256": "0" * 64, "size_bytes": 10}
AT_FIRST = "cd96204541fe97d4fd48738524e47f874a2bace226dfe36fe6cc844cad15b9a2"
"""Hash of one model alone, as hubs had it before there was any other section: devices are not told anew."""


def model(version: int) -> dict[str, Any]:
    return {"version": version, "target": "pi4-litert-int8", "manifest": REF, "deployment": f"dp-{version}"}


def wanted(number: int, kind: IntentKind = "rollout", section: str = "models/digits", **changes: Any) -> Wanted:
    given = {"body": model(number), "created_at": NOON, "owner": f"owner/{number}"} | changes
    return Wanted(id=number, section=section, kind=kind, **given)


intents = st.lists(
    st.builds(
        Wanted,
        id=st.integers(1, 5),
        section=st.sampled_from(["models/a", "models/b"]),
        kind=st.sampled_from(sorted(PRIORITY)),
        owner=st.sampled_from(["x", "y"]),
        body=st.integers(1, 4).map(model),
        created_at=st.integers(0, 3).map(lambda hours: NOON + timedelta(hours=hours)),
        until=st.none() | st.integers(-1, 1).map(lambda hours: NOON + timedelta(hours=hours)),
    ),
    unique_by=lambda one: one.id,
)


@given(intents, st.randoms(use_true_random=False))
def test_the_order_in_which_intents_are_read_makes_no_difference(drawn: list[Wanted], random: Any) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)
    assert compose(shuffled, NOON) == compose(drawn, NOON)


@given(intents)
def test_the_winner_is_the_strongest_kind_and_then_the_newest(drawn: list[Wanted]) -> None:
    composition = compose(drawn, NOON)
    alive = [one for one in drawn if one.until is None or one.until > NOON]
    for name in ("a", "b"):
        section = [one for one in alive if one.section == f"models/{name}"]
        if not section:
            assert name not in composition.models
            continue
        best = max(section, key=lambda one: (PRIORITY[one.kind], one.created_at, one.id))
        assert composition.models[name].model_dump(mode="json", exclude_unset=True) == best.body


def test_a_pin_beats_a_rollback_beats_a_rollout_beats_ab_beats_a_default() -> None:
    kinds: list[IntentKind] = ["default", "ab", "rollout", "rollback", "pin"]
    stack: list[Wanted] = []
    for number, kind in enumerate(kinds, start=1):
        stack.append(wanted(number, kind, created_at=NOON - timedelta(hours=number)))
        assert compose(stack, NOON).models["digits"].version == number


def test_a_loser_that_wants_something_else_is_shown_and_one_that_agrees_is_not() -> None:
    composition = compose([wanted(1), wanted(2, "pin"), wanted(3, body=model(2))], NOON)
    assert [(one.owner, one.winner) for one in composition.conflicts] == [("owner/1", "owner/2")]


def test_an_intent_counts_until_its_time_has_come() -> None:
    intent = wanted(1, until=NOON)
    assert compose([intent], NOON - timedelta(seconds=1)).models
    assert not compose([intent], NOON).models


def test_a_body_that_is_not_valid_falls_back_to_the_next_and_says_why() -> None:
    composition = compose([wanted(1), wanted(2, "pin", body={"version": 0})], NOON)
    assert composition.models["digits"].version == 1
    assert "not valid" in composition.conflicts[0].reason


def test_an_unknown_section_changes_nothing_and_is_shown() -> None:
    composition = compose([wanted(1, section="firmware")], NOON)
    assert composition.content_sha256 == compose([], NOON).content_sha256
    assert "no such section" in composition.conflicts[0].reason


def test_a_configuration_and_a_model_live_side_by_side() -> None:
    composition = compose([wanted(1), wanted(2, "default", "config", body={"heartbeat_s": 5})], NOON)
    assert composition.config.heartbeat_s == 5
    assert composition.models["digits"].version == 1


def test_the_content_hash_speaks_of_the_content_alone() -> None:
    assert compose([wanted(1)], NOON).content_sha256 == compose([wanted(1, "pin", owner="z")], NOON).content_sha256
    assert compose([wanted(1)], NOON).content_sha256 != compose([wanted(2)], NOON).content_sha256


def test_what_a_site_without_handover_says_has_the_hash_that_it_had_before_there_was_any() -> None:
    body = {"name": "warehouse", "cache": "d-" + "a" * 16, "host": "cache.lan", "port": 9000}
    members = {"members": ["d-" + "b" * 16]}
    site = wanted(2, "default", "site", body=body | members)
    earlier = "38fd819ac8aa8d8a0581f7ab96640dfaaf819144b25b8fd5de45348fd1c14ca2"
    assert compose([wanted(1), site], NOON).content_sha256 == earlier
    handed = wanted(2, "default", "site", body=body | members | {"handover": {"peers": []}})
    assert compose([wanted(1), handed], NOON).content_sha256 != earlier


def test_a_configuration_that_lets_no_device_go_back_has_the_hash_that_it_had_before_there_was_such_leave() -> None:
    given = [wanted(1), wanted(2, "default", "config", body={"drift_fall_back": {"features": 3}})]
    assert compose([wanted(1)], NOON).content_sha256 == AT_FIRST
    assert compose(given, NOON).content_sha256 != AT_FIRST


def test_features_are_a_section_and_change_nothing_for_devices_without_them() -> None:
    without = compose([wanted(1)], NOON)
    body = DesiredFeatures(pipelines={"pumps": Pipeline(source=HttpSource(), definitions=("vibration",))})
    more = wanted(2, "default", "features", body=body.model_dump(mode="json"))
    composition = compose([wanted(1), more], NOON)
    assert (composition.features, composition.models) == (body, without.models)
    assert composition.content_sha256 != without.content_sha256
    assert without.content_sha256 == AT_FIRST


def test_features_that_would_leave_no_room_in_the_state_lose_to_those_that_do() -> None:
    few = {"f0": Feature(aggregate="mean", field="x")}
    many = {f"feature-number-{n}": Feature(aggregate="mean", field="x") for n in range(64)}
    window = CountWindow(size=1, every=1)
    large = {f"d{n}": FeatureDefinition(window=window, features=many) for n in range(32)}
    small = {"d": FeatureDefinition(window=window, features=few)}
    bodies = [DesiredFeatures(definitions=one).model_dump(mode="json") for one in (small, large)]
    composition = compose(
        [wanted(1, "default", "features", body=bodies[0]), wanted(2, "pin", "features", body=bodies[1])], NOON
    )
    assert composition.features == DesiredFeatures(definitions=small)
    assert "bytes" in composition.conflicts[0].reason


def composition_of(*models: str, **changes: Any) -> dict[str, Any]:
    form = Ensemble(members=tuple(Member(model=name, **changes) for name in models))
    return DesiredComposition(form=form).model_dump(mode="json")


def test_compositions_are_sections_and_change_nothing_for_devices_without_them() -> None:
    without = compose([wanted(1)], NOON)
    more = wanted(2, "default", "compositions/both", body=composition_of("digits", "letters"))
    composition = compose([wanted(1), more], NOON)
    assert composition.compositions["both"].models == ("digits", "letters")
    assert composition.models == without.models
    assert composition.content_sha256 != without.content_sha256
    assert without.content_sha256 == AT_FIRST


def test_a_composition_does_not_take_the_name_of_a_model() -> None:
    named = wanted(2, "pin", "compositions/digits", body=composition_of("a", "b"))
    composition = compose([wanted(1), named], NOON)
    assert (composition.compositions, set(composition.models)) == ({}, {"digits"})
    assert [conflict.reason for conflict in composition.conflicts] == [
        "models/digits is wanted as well, and the two would have one name"
    ]


def test_compositions_are_bounded_in_number_and_size_and_the_invalid_lose() -> None:
    names = [f"compositions/c{n:02}" for n in range(MAX_COMPOSITIONS + 1)]
    many = [wanted(n, "default", name, body=composition_of("a", "b")) for n, name in enumerate(names)]
    large = composition_of("a", "b", inputs={f"{n:0128}": f"{n:0128}" for n in range(16)})
    found = compose([*many[:2], wanted(90, "default", "compositions/x", body=large)], NOON)
    assert "bytes" in found.conflicts[0].reason
    found = compose(many, NOON)
    assert len(found.compositions) == MAX_COMPOSITIONS
    assert found.conflicts[0].reason == f"a device has at most {MAX_COMPOSITIONS} compositions"
    alone = {"form": {"kind": "ensemble", "members": [{"model": "a"}]}}
    found = compose([wanted(1, "default", "compositions/one", body=alone)], NOON)
    assert "at least 2 items" in found.conflicts[0].reason


def test_a_batch_job_that_would_leave_no_room_in_the_state_loses() -> None:
    job = DesiredBatch(model="digits", input="*.csv", keep=("id",), deadline_at=NOON)
    large = job.model_copy(update={"keep": tuple(f"{n:02}" + "x" * 126 for n in range(32))})
    bodies = [one.model_dump(mode="json") for one in (job, large)]
    found = compose(
        [wanted(1, "default", "batches/a", body=bodies[0]), wanted(2, "default", "batches/b", body=bodies[1])], NOON
    )
    assert found.batches == {"a": job}
    assert "at most 4096 have room in a state" in found.conflicts[0].reason
