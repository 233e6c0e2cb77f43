"""TUF's names: what is built stays inside its role, and only a director's role has an epoch."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract import topics, trust
from shoal_contract.errors import TopicError
from shoal_contract.ids import NAME_PATTERN

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)
SHA = "0123456789abcdef" * 4


@given(NAMES, NAMES)
def test_a_model_s_role_can_list_its_own_manifests_and_no_other_model_s(one: str, other: str) -> None:
    target = trust.manifest_target(one, 3, SHA)
    assert target.count("/") == trust.model_paths(one).count("/") == trust.MODELS_PATHS.count("/")
    assert fnmatch.fnmatchcase(target, trust.model_paths(one))
    assert fnmatch.fnmatchcase(target, trust.model_paths(other)) is (one == other)


@pytest.mark.parametrize(
    "role", ["director-0", "director-01", "director--1", "director-1x", "models/director-1", "code"]
)
def test_no_other_role_passes_for_a_director_s(role: str) -> None:
    assert trust.epoch_of(role) is None


@given(st.integers(1, 10**18 - 1))
def test_a_director_s_role_tells_its_epoch(epoch: int) -> None:
    assert trust.epoch_of(trust.director_role(epoch)) == epoch


def test_metadata_topics_are_those_of_tuf_s_file_names() -> None:
    assert topics.trust_metadata(7, "models/digits") == "shoal/1/trust/7.models%2Fdigits"
    assert (topics.TRUST_TIMESTAMP, topics.TRUST_INDEX) == ("shoal/1/trust/timestamp", "shoal/1/trust/index")
    for version, role in ((0, "root"), (1, "")):
        with pytest.raises(TopicError):
            topics.trust_metadata(version, role)
