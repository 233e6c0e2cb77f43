"""Sets of one device are folded the same way in whatever order, and never into more than a section takes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.simulators.feature_sets import VIBRATION, features

from shoal_contract.features import MAX_PIPELINES, DesiredFeatures
from shoal_contract.limits import MAX_FEATURES_BYTES
from shoal_hub.features.merge import merge

SETS = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.builds(
        lambda pipeline, definition, waiting: features(pipeline, definition, max_waiting=waiting),
        st.sampled_from(["p", "q", "r"]),
        st.sampled_from(["d", "e"]),
        st.integers(1, 2),
    ),
)


def read(sets: dict[str, dict[str, Any]]) -> dict[str, DesiredFeatures]:
    return {name: DesiredFeatures.model_validate(body) for name, body in sets.items()}


@given(SETS, st.randoms())
def test_the_order_does_not_matter_and_each_set_is_there_as_a_whole_or_left_out(
    sets: dict[str, dict[str, Any]], chance: Any
) -> None:
    bodies = read(sets)
    shuffled = list(bodies.items())
    chance.shuffle(shuffled)
    merged = merge(bodies)
    assert merge(dict(shuffled)) == merged
    whole = merged.body or DesiredFeatures()
    for name, body in bodies.items():
        is_there = (
            body.pipelines.items() <= whole.pipelines.items() and body.definitions.items() <= whole.definitions.items()
        )
        assert is_there or name in merged.left_out
    assert not sets or min(sets) not in merged.left_out, "the first one always has room"


def test_more_pipelines_than_a_device_takes_are_left_out() -> None:
    bodies = read({f"set-{n:02}": features(f"pipeline-{n}") for n in range(MAX_PIPELINES + 1)})
    merged = merge(bodies)
    assert list(merged.left_out) == [f"set-{MAX_PIPELINES:02}"]
    assert f"a device has at most {MAX_PIPELINES}" in merged.left_out[f"set-{MAX_PIPELINES:02}"]


def test_more_bytes_than_have_room_in_a_state_are_left_out() -> None:
    many = {f"f{n}-{'x' * 40}": {"aggregate": "mean", "field": "x" * 60} for n in range(64)}
    definitions = {f"d{n}": VIBRATION | {"features": many} for n in range(3)}
    large = {f"set-{n}": features(f"p{n}", "d0") | {"definitions": {}} for n in range(2)}
    for n, one in enumerate(large.values()):
        one["definitions"] = {f"d{n}{name}": each for name, each in definitions.items()} | {"d0": VIBRATION}
    bodies = read(large)
    assert all(len(one.model_dump_json()) <= MAX_FEATURES_BYTES for one in bodies.values())
    merged = merge(bodies)
    assert list(merged.left_out) == ["set-1"]
    assert merged.body == bodies["set-0"]
